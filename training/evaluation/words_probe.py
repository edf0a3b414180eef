"""Accuracy of logistic regression on TF-IDF of the words as they are written: what any text encoder must beat."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from training.evaluation import Subject

NEEDS_LABELS = True


def evaluate(subject: Subject) -> dict[str, float]:
    texts = {split: _texts(subject, split) for split in ("train", "test")}
    probe = make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), LogisticRegression(C=10, max_iter=300))
    probe.fit(texts["train"], subject.labels("train"))
    truth = subject.labels("test")
    return {
        "accuracy": float(probe.score(texts["test"], truth)),
        "most_frequent": float(np.bincount(truth).max() / len(truth)),
    }


def _texts(subject: Subject, split: str) -> list[str]:
    data = subject.data(split)
    return [data.read(i, subject.modality) for i in range(len(data))]
