"""Accuracy of logistic regression on frozen embeddings, its penalty chosen on validation."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from training.evaluation import Subject

NEEDS_LABELS = True
PENALTIES = (0.01, 0.1, 1.0, 10.0)  # inverse strength, as scikit-learn's C


def evaluate(subject: Subject) -> dict[str, float]:
    probe, penalty = best_probe(subject)
    truth, found = subject.labels("test"), probe.predict(subject.features("test"))
    return {
        "accuracy": float((found == truth).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(truth, found)),
        "penalty": penalty,
    }


def best_probe(subject: Subject) -> tuple[Pipeline, float]:
    """The regression that does best on validation, and its penalty."""
    tried = [(fit_probe(subject.features("train"), subject.labels("train"), penalty), penalty) for penalty in PENALTIES]
    return max(tried, key=lambda pair: pair[0].score(subject.features("val"), subject.labels("val")))


def fit_probe(features: np.ndarray, labels: np.ndarray, penalty: float) -> Pipeline:
    """Standardised logistic regression on [N, D] and [N]."""
    with threadpool_limits(1):  # products this small lose far more to waiting threads than they gain
        return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000)).fit(features, labels)
