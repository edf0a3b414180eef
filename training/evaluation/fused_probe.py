"""Balanced accuracy of logistic regression on the mean of all towers' embeddings, and on each of them alone.

Rizhko and Bloom 2024 (AstroM3), arXiv:2411.08842, average what their three encoders give. Its penalty is chosen on
validation. Vectors are of length 1, so that none counts for more than another.
"""

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from enfold.model import unit
from training.evaluation import Subject
from training.evaluation.linear_probe import PENALTIES, fit_probe

NEEDS_LABELS = True


def evaluate(subject: Subject) -> dict[str, float]:
    splits = {split: subject.towers(split) for split in ("train", "val", "test")}
    names = list(splits["test"])
    figures = {"balanced_accuracy": judged(subject, splits, names)}
    return figures | {f"{name}_balanced_accuracy": judged(subject, splits, [name]) for name in names}


def judged(subject: Subject, splits: dict[str, dict[str, np.ndarray]], names: list[str]) -> float:
    """Of the mean of some towers."""
    vectors = {split: np.mean([unit(found[name]) for name in names], 0) for split, found in splits.items()}
    tried = [fit_probe(vectors["train"], subject.labels("train"), penalty) for penalty in PENALTIES]
    best = max(tried, key=lambda probe: probe.score(vectors["val"], subject.labels("val")))
    truth, found = subject.labels("test"), best.predict(vectors["test"])
    return float(balanced_accuracy_score(truth, found))
