"""Accuracy of a weighted vote of the 20 nearest training items, for the encoder and for raw inputs."""

import numpy as np

from enfold.model import unit
from training.evaluation import Subject
from training.probes import knn_accuracy

NEEDS_LABELS = True


def evaluate(subject: Subject) -> dict[str, float]:
    train_labels, test_labels = subject.labels("train"), subject.labels("test")
    train, test = subject.features("train"), subject.features("test")
    return {
        "accuracy": knn_accuracy(train, train_labels, test, test_labels),
        "raw_accuracy": knn_accuracy(subject.pixels("train"), train_labels, subject.pixels("test"), test_labels),
        "precision_at_10": precision(train, train_labels, test, test_labels),
        "test_items": len(test_labels),
    }


def precision(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """The share of each test item's ten nearest training items, by cosine, that carry its label."""
    nearest = np.argpartition(-(unit(test) @ unit(train).T), 10, axis=1)[:, :10]  # [N, 10]
    return float((train_labels[nearest] == test_labels[:, None]).mean())
