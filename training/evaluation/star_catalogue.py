"""Balanced accuracy of logistic regression on what a catalogue of variable stars tells, without any encoder.

`period_and_amplitude`, and `shape_and_colour`: shares and phases of two harmonics, with V - I. What towers that see the
same measurements must beat. Classes weigh alike, and the penalty is chosen on validation.
"""
# N stars, F features

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from training.evaluation import Subject
from training.evaluation.linear_probe import PENALTIES

NEEDS_LABELS = True


def evaluate(subject: Subject) -> dict[str, float]:
    figures = {}
    for number, name in enumerate(("period_and_amplitude", "shape_and_colour")):
        train, val, test = (told(subject, split)[number] for split in ("train", "val", "test"))
        with threadpool_limits(1):
            tried = [
                make_pipeline(
                    StandardScaler(), LogisticRegression(C=penalty, class_weight="balanced", max_iter=2000)
                ).fit(train, subject.labels("train"))
                for penalty in PENALTIES
            ]
        best = max(tried, key=lambda one: balanced_accuracy_score(subject.labels("val"), one.predict(val)))
        figures[name] = float(balanced_accuracy_score(subject.labels("test"), best.predict(test)))
    return figures


def told(subject: Subject, split: str) -> tuple[np.ndarray, np.ndarray]:
    """[N, F] each, from the columns beside the stars."""
    rows = [record.payload for record in subject.data(split).records]
    column = {
        name: np.array([float(row[name]) for row in rows]) for name in rows[0] if not isinstance(rows[0][name], str)
    }
    phases = [turn(column[name]) for name in ("phi21", "phi31") for turn in (np.cos, np.sin)]
    shape = [column["R21"], column["R31"], *phases, column["V"] - column["I"]]
    return np.stack([np.log10(column["period"]), column["amplitude"]], 1), np.stack(shape, 1)
