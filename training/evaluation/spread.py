"""How far embeddings spread, from a point to the whole sphere."""

from enfold.rankme import rankme
from training.evaluation import Subject
from training.probes import feature_std

NEEDS_LABELS = False


def evaluate(subject: Subject) -> dict[str, float]:
    test = subject.features("test")
    return {"rankme": rankme(test), "feature_std": feature_std(test)}
