"""Accuracy of logistic regression on how often each shade occurs in the raw inputs: what knows nothing of shapes.

Beside it stands the share of the most frequent class.
"""
# N items, C channels, H shades of a histogram

import numpy as np

from training.evaluation import Subject
from training.evaluation.linear_probe import PENALTIES, fit_probe

NEEDS_LABELS = True
SHADES, OUTLIERS = 32, 0.1  # of each channel; percent of values at either end that share the last shade


def evaluate(subject: Subject) -> dict[str, float]:
    found = {split: histograms(subject, split) for split in ("train", "val", "test")}
    labels = {split: subject.labels(split) for split in found}
    tried = [fit_probe(found["train"], labels["train"], penalty) for penalty in PENALTIES]
    best = max(tried, key=lambda probe: probe.score(found["val"], labels["val"]))
    return {
        "accuracy": float((best.predict(found["test"]) == labels["test"]).mean()),
        "most_frequent": float(np.bincount(labels["test"]).max() / len(labels["test"])),
    }


def histograms(subject: Subject, split: str) -> np.ndarray:
    """Shares of shades [N, C * H]; their borders are those of the training split."""
    [(name, values)] = subject.prepared(split).items()  # [N, C, …]
    low, high = np.percentile(subject.prepared("train")[name], (OUTLIERS, 100 - OUTLIERS))
    shade = ((np.clip(values, low, high) - low) / (high - low) * (SHADES - 1)).round().astype(int)
    flat = shade.reshape(*shade.shape[:2], -1)  # [N, C, …]
    return np.stack([(flat == one).mean(2) for one in range(SHADES)], 2).reshape(len(flat), -1)
