"""Accuracy of a weighted vote of the 20 nearest training texts, where a text encoder learnt beside the encoder."""

from training.evaluation import Subject
from training.probes import knn_accuracy

NEEDS_LABELS = True


def evaluate(subject: Subject) -> dict[str, float]:
    train, test = (subject.text_features(subject.captions(split)) for split in ("train", "test"))
    return {"accuracy": knn_accuracy(train, subject.labels("train"), test, subject.labels("test"))}
