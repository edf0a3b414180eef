"""Views of a row."""

import math
from collections.abc import Sequence

import numpy as np

from enfold.modalities import Arrays
from enfold.modalities.table import Row, Table, padded


def plain(row: Row, rng: np.random.Generator, reader: Table) -> Arrays:
    """The row as it is, with as many tokens as the encoder takes."""
    [sample, *_] = reader.prepare(row)
    return {name: padded(array, reader.preprocess.max_tokens) for name, array in sample.arrays.items()}


def partitions(columns: Sequence[str], count: int, *, overlap: float) -> list[list[str]]:
    """`count` runs of neighbouring columns that together are all of them, each with some of the next one's first.

    overlap   share of a run's own columns, rounded up, that it takes from the next; the last from the one before

    Wang and Sun 2022 (TransTab), arXiv:2205.09328, section 2.4.
    """
    runs = [[str(name) for name in run] for run in np.array_split(np.array(columns, object), count)]
    found = []
    for number, run in enumerate(runs):
        taken = math.ceil(overlap * len(run))
        last = number == count - 1
        beside = runs[number - 1][len(runs[number - 1]) - taken :] if last else runs[number + 1][:taken]
        found.append([*run, *beside] if count > 1 else run)
    return found
