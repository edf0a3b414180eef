"""Do the towers of one space find each other's view of an item, among all of the test split?

For every two of them, either way: `<one>_to_<other>_r10` is the share of items that have their own among ten nearest,
beside chance. The tower of the items themselves is called as their modality, others as the column that they read.
"""
# N items, D features

from itertools import permutations

import numpy as np

from training.evaluation import Subject
from training.evaluation.caption_retrieval import DEPTHS, recall

NEEDS_LABELS = False


def evaluate(subject: Subject) -> dict[str, float]:
    towers = subject.towers("test")
    count = len(subject.data("test"))
    figures: dict[str, float] = {f"chance_r{k}": min(1.0, k / count) for k in DEPTHS}
    for one, two in permutations(towers, 2):
        found = {k: recall(towers[one], towers[two], np.eye(count, dtype=bool), k) for k in DEPTHS}
        figures |= {f"{one}_to_{two}_r{k}": value for k, value in found.items()}
    return figures
