"""Accuracy of a linear probe from few labels per class: nested random subsets, five draws each."""

import numpy as np

from training.evaluation import Subject
from training.evaluation.linear_probe import fit_probe

NEEDS_LABELS = True
SHOTS = (1, 5, 20)  # labels per class
DRAWS = 5


def evaluate(subject: Subject) -> dict[str, float]:
    train, labels = subject.features("train"), subject.labels("train")
    test, truth = subject.features("test"), subject.labels("test")
    scores: dict[int, list[float]] = {shots: [] for shots in SHOTS}
    for draw in range(DRAWS):
        order = np.random.default_rng([subject.run.seed, draw]).permutation(len(labels))
        for shots in SHOTS:
            chosen = nested_subset(labels, order, shots)
            probe = fit_probe(train[chosen], labels[chosen], penalty=1.0)
            scores[shots].append(float(probe.score(test, truth)))
    return {f"{shots}_per_class": float(np.mean(found)) for shots, found in scores.items()}


def nested_subset(labels: np.ndarray, order: np.ndarray, shots: int) -> np.ndarray:
    """The first `shots` items of every class in `order`; a smaller subset lies inside a larger one."""
    return np.concatenate([order[labels[order] == label][:shots] for label in np.unique(labels)])
