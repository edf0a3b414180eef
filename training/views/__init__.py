"""Views: augmented copies of one item. Every draw comes from the generator that is passed in.

A file of this folder holds those of the modality of its name; `plain` among them is what training on labels sees.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from enfold.errors import WrongUse
from enfold.modalities import Arrays

Plain = Callable[[Any, np.random.Generator, Any], Arrays]  # (value, rng, preprocess) -> encoder inputs


def plain(modality: str) -> Plain:
    """A modality's `plain`. Raises WrongUse where it has none."""
    try:
        found: Plain = import_module(f"{__name__}.{modality}").plain
    except (ModuleNotFoundError, AttributeError):
        raise WrongUse(
            f"there is no view of {modality} items to train on labels with: use adaptation 'linear'"
        ) from None
    return found
