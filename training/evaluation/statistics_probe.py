"""Accuracy of logistic regression on the mean and deviation of each channel of the raw inputs: no encoder at all.

What an encoder of sounds must beat: how loud every mel band is, and how much it changes.
"""

import numpy as np

from training.evaluation import Subject
from training.evaluation.linear_probe import PENALTIES, fit_probe

NEEDS_LABELS = True


def evaluate(subject: Subject) -> dict[str, float]:
    train, val, test = (statistics(subject, split) for split in ("train", "val", "test"))
    tried = [fit_probe(train, subject.labels("train"), penalty) for penalty in PENALTIES]
    best = max(tried, key=lambda probe: probe.score(val, subject.labels("val")))
    return {"accuracy": float(best.score(test, subject.labels("test")))}


def statistics(subject: Subject, split: str) -> np.ndarray:
    """[N, 2C], of inputs [N, C, …]"""
    found = [array.reshape(*array.shape[:2], -1) for array in subject.prepared(split).values()]
    return np.concatenate([of(array, axis=2) for array in found for of in (np.mean, np.std)], 1)
