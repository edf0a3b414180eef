"""Views: augmented copies of one item. Every draw comes from the generator that is passed in.

A file of this folder holds those of the modality of its name; `plain` among them is what training on labels sees.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality

Plain = Callable[[Any, np.random.Generator], Arrays]  # a value -> encoder inputs


def plain(reader: Modality[Any]) -> Plain:
    """The `plain(value, rng, reader)` of what reads the items. Raises WrongUse where their modality has none."""
    try:
        found = import_module(f"{__name__}.{reader.name}").plain
    except (ModuleNotFoundError, AttributeError):
        raise WrongUse(
            f"there is no view of {reader.name} items to train on labels with: use adaptation 'linear'"
        ) from None
    return partial(found, reader=reader)
