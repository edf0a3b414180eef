"""Balanced accuracy of the nearest class prototype from a few labels per class, over many episodes.

Wang et al. 2019 (SimpleShot), arXiv:1911.04623: vectors less the training mean, at length 1; a prototype is the mean of
a class's few; the nearest by Euclidean distance names the class. Beside the encoder stands mean colour alone.
"""
# N items, C classes, D features

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from enfold.model import unit
from training.evaluation import Subject
from training.evaluation.few_label import nested_subset

NEEDS_LABELS = True
SHOTS = (1, 4, 16)  # labels per class
EPISODES = 200  # the mean is then known to about half a point


def evaluate(subject: Subject) -> dict[str, float]:
    labels, truth = subject.labels("train"), subject.labels("test")
    views = {
        "": (unit(subject.centred("train")), unit(subject.centred("test"))),
        "colour_": (unit(subject.means("train")), unit(subject.means("test"))),
    }
    scores: dict[str, list[float]] = {}
    for episode in range(EPISODES):
        order = np.random.default_rng([subject.run.seed, episode]).permutation(len(labels))
        for shots in SHOTS:
            few = nested_subset(labels, order, shots)
            for name, (train, test) in views.items():
                answers = np.unique(labels)[distances(test, prototypes(train[few], labels[few])).argmin(1)]
                scores.setdefault(f"{name}{shots}_shot", []).append(float(balanced_accuracy_score(truth, answers)))
    return {name: float(np.mean(found)) for name, found in scores.items()}


def prototypes(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of each class of [N, D], in the order of label numbers: [C, D]."""
    return np.stack([vectors[labels == label].mean(0) for label in np.unique(labels)])


def distances(vectors: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances [N, C]."""
    return ((vectors[:, None] - prototypes) ** 2).sum(2)
