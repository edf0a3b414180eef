"""What is told of sets of Gaussians without any encoder: by their colours alone, and by the spread of each attribute.

Neighbours by how often each of 64 colours occurs, weighted by opacity (four shades each of red, green and blue); a
random forest on mean, deviation and deciles of every column.
"""
# N items, S Gaussians, C columns

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from enfold.modalities.splats import COLUMNS, normalized
from training.evaluation import Subject
from training.probes import knn_accuracy

NEEDS_LABELS = True
SHADES, TREES = 4, 500


def evaluate(subject: Subject) -> dict[str, float]:
    columns = {split: normalised(subject, split) for split in ("train", "test")}
    labels = {split: subject.labels(split) for split in columns}
    colours = {split: np.stack([histogram(one) for one in found]) for split, found in columns.items()}
    spread = {split: np.stack([statistics(one) for one in found]) for split, found in columns.items()}
    forest = RandomForestClassifier(TREES, random_state=0, n_jobs=1).fit(spread["train"], labels["train"])
    return {
        "colour_knn_accuracy": knn_accuracy(colours["train"], labels["train"], colours["test"], labels["test"]),
        "forest_accuracy": float((forest.predict(spread["test"]) == labels["test"]).mean()),
    }


def normalised(subject: Subject, split: str) -> list[np.ndarray]:
    """Columns [S, 14] of each item of a split, all its Gaussians."""
    data = subject.data(split)
    return [normalized(data.read(i, subject.modality))[0] for i in range(len(data))]


def histogram(columns: np.ndarray) -> np.ndarray:
    """Shares of opacity [64]."""
    limit = 1 / np.sqrt(3)  # of a normalised shade
    shade = ((columns[:, COLUMNS["sh"]] / limit + 1) / 2 * SHADES).astype(int).clip(0, SHADES - 1)
    opacity = (columns[:, COLUMNS["opacity"]][:, 0] + 1) / 2
    found: np.ndarray = np.bincount(shade @ SHADES ** np.arange(3), opacity, SHADES**3) / opacity.sum()
    return found


def statistics(columns: np.ndarray) -> np.ndarray:
    """[11 C]"""
    deciles = np.quantile(columns, np.linspace(0.1, 0.9, 9), axis=0)
    return np.concatenate([columns.mean(0), columns.std(0), deciles.ravel()])
