"""Accuracy of a weighted vote of the 20 nearest training items, for the encoder and for raw inputs that compare.

Balanced accuracies, in which every class counts alike, are of vectors less the training mean; beside the encoder's
stands what mean colour alone reaches.
"""

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from enfold.model import unit
from training.evaluation import Subject
from training.probes import knn_accuracy, knn_vote

NEEDS_LABELS = True


def evaluate(subject: Subject) -> dict[str, float]:
    train_labels, test_labels = subject.labels("train"), subject.labels("test")
    train, test = subject.features("train"), subject.features("test")
    centred = knn_vote(subject.centred("train"), train_labels, subject.centred("test"))
    figures = {
        "accuracy": knn_accuracy(train, train_labels, test, test_labels),
        "balanced_accuracy": float(balanced_accuracy_score(test_labels, centred)),
        "precision_at_10": precision(train, train_labels, test, test_labels),
        "test_items": len(test_labels),
    }
    if not subject.has_raw_values:
        return figures
    by_colour = knn_vote(subject.means("train"), train_labels, subject.means("test"))
    return figures | {
        "raw_accuracy": knn_accuracy(subject.pixels("train"), train_labels, subject.pixels("test"), test_labels),
        "colour_balanced_accuracy": float(balanced_accuracy_score(test_labels, by_colour)),
    }


def precision(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """The share of each test item's ten nearest training items (all, if fewer), by cosine, that carry its label."""
    k = min(10, len(train))
    nearest = np.argpartition(-(unit(test) @ unit(train).T), k - 1, axis=1)[:, :k]  # [N, k]
    return float((train_labels[nearest] == test_labels[:, None]).mean())
