"""Accuracy of a random forest on what is simplest of a shape: distances between its points, and its extents.

Osada et al. 2002 (D2 shape distributions), doi:10.1145/571647.571648.
"""
# N items, G patches, K points of a patch

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from training.evaluation import Subject

NEEDS_LABELS = True
BINS, PAIRS = 64, 20_000


def evaluate(subject: Subject) -> dict[str, float]:
    found = {split: descriptors(subject, split) for split in ("train", "test")}
    forest = RandomForestClassifier(500, random_state=0, n_jobs=1).fit(found["train"], subject.labels("train"))
    truth = subject.labels("test")
    return {
        "accuracy": float((forest.predict(found["test"]) == truth).mean()),
        "most_frequent": float(np.bincount(truth).max() / len(truth)),
    }


def descriptors(subject: Subject, split: str) -> np.ndarray:
    """A histogram of distances of pairs of points, and the sides of the box, of each cloud [N, BINS + 3]."""
    inputs = subject.prepared(split)
    centres, patches = (inputs[name][..., :3] for name in ("centres", "patches"))  # what else is known is left out
    clouds = (centres[:, :, None] + patches).reshape(len(centres), -1, 3)  # [N, GK, 3]
    one, two = np.random.default_rng(0).integers(clouds.shape[1], size=(2, PAIRS))
    distance = np.linalg.norm(clouds[:, one] - clouds[:, two], axis=2)
    shares = [np.histogram(row, BINS, (0, 2))[0] / PAIRS for row in distance]
    return np.concatenate([np.stack(shares), np.ptp(clouds, axis=1)], 1)
