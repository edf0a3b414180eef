"""How well items with several labels each are told apart and found: means over classes, and over items, of precision.

Columns of words beside the items are judged where there are any: `labels`, and `cover`, which a pretraining may have
seen. `map` is the mean average precision of one logistic regression per class on frozen embeddings, the penalty chosen
on validation; `colour_map` the same on each band's mean and deviation. `retrieval_map` is that of a test item's ranking
of the training items by cosine, of which those that share a class with it are right.
"""
# N training items, M test items, K classes

from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score

from enfold.model import unit
from training.evaluation import Subject
from training.evaluation.linear_probe import PENALTIES, fit_probe

NEEDS_LABELS = False
COLUMNS = ("labels", "cover")


def evaluate(subject: Subject) -> dict[str, float]:
    figures = {}
    train, test = (unit(subject.centred(split)) for split in ("train", "test"))
    for column in COLUMNS:
        truth = classes(subject, column)
        if truth["train"].shape[1]:
            figures[f"{column}_map"] = linear_map(subject.features, truth)
            figures[f"{column}_colour_map"] = linear_map(lambda split: moments(subject, split), truth)
            figures[f"{column}_retrieval_map"] = retrieval_map(test @ train.T, truth["test"], truth["train"])
    return figures


def classes(subject: Subject, column: str) -> dict[str, np.ndarray]:
    """bool [N, K] of every split: the classes that some, but not all, items of training and of test have.

    Validation may lack one of them, whose probe then has the first of the penalties.
    """
    words = {
        split: [str(record.payload.get(column, "")).split() for record in subject.data(split).records]
        for split in ("train", "val", "test")
    }
    names = sorted({name for row in words["train"] for name in row})
    found = {split: np.array([[name in row for name in names] for row in rows], bool) for split, rows in words.items()}
    kept = [k for k in range(len(names)) if all(0 < found[s][:, k].mean() < 1 for s in ("train", "test"))]
    return {split: rows[:, kept] for split, rows in found.items()}


def linear_map(features: Callable[[str], np.ndarray], truth: dict[str, np.ndarray]) -> float:
    """Mean over classes of the average precision on test, each with the penalty that is best on validation."""
    found = []
    for k in range(truth["train"].shape[1]):
        probes = [fit_probe(features("train"), truth["train"][:, k], penalty) for penalty in PENALTIES]
        scores = [[probe.decision_function(features(split)) for split in ("val", "test")] for probe in probes]
        best = max(scores, key=lambda one: average_precision(truth["val"][:, k], one[0]))
        found.append(average_precision(truth["test"][:, k], best[1]))
    return float(np.mean(found))


def retrieval_map(scores: np.ndarray, wanted: np.ndarray, labels: np.ndarray) -> float:
    """scores [M, N] of queries with classes [M, K] to items with classes [N, K]; queries without any are left out."""
    right = (wanted.astype(int) @ labels.T.astype(int)) > 0  # [M, N]
    asked = right.any(1)
    order = np.argsort(-scores[asked], axis=1, kind="stable")
    hit = np.take_along_axis(right[asked], order, 1)
    precision = hit.cumsum(1) / np.arange(1, hit.shape[1] + 1)
    return float(((precision * hit).sum(1) / hit.sum(1)).mean())


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """0 where there is nothing to find, as on a small validation split."""
    return float(average_precision_score(truth, scores)) if truth.any() else 0.0


def moments(subject: Subject, split: str) -> np.ndarray:
    """Mean and deviation of each band of the raw inputs [N, 2C]."""
    found = [array.reshape(*array.shape[:2], -1) for array in subject.prepared(split).values()]
    return np.concatenate([moment for array in found for moment in (array.mean(2), array.std(2))], axis=1)
