"""A window of a series, of a long one another each time."""

import numpy as np

from enfold.modalities import Arrays
from enfold.modalities.series import Series, Signal, level


def plain(value: Signal, rng: np.random.Generator, reader: Series) -> Arrays:
    """As the encoder of so many channels sees it."""
    start = int(rng.integers(max(len(value.values) - reader.preprocess.window, 0) + 1))
    return reader.window(value, start, *level(value.values))
