"""Do items of one modality find those of another in the space of one encoder, that learnt from both?

For every further modality of the recipe, either way: accuracy of a vote of the 20 nearest training items, beside the
share of the most frequent class; and how often an item of the test split has its own counterpart, which bears its id,
among its ten nearest, beside chance. Vectors are less the mean of their modality's training split, so that they are
compared by how they differ from their own kind.
"""
# N items, M items of the other modality, D features

import numpy as np

from enfold.model import unit
from training.evaluation import Subject
from training.probes import knn_accuracy

NEEDS_LABELS = True
NEAREST = 10


def evaluate(subject: Subject) -> dict[str, float]:
    figures: dict[str, float] = {}
    for data in subject.run.mixed_data():
        other = Subject(subject.encoder, subject.run, data)
        for one, two in ((subject, other), (other, subject)):
            way = f"{one.modality.name}_to_{two.modality.name}"
            truth = _numbers(one, "test", two)
            vote = knn_accuracy(two.centred("train"), two.labels("train"), one.centred("test"), truth)
            found = own_among_nearest(_ids(one), one.centred("test"), _ids(two), two.centred("test"))
            figures |= {f"{way}_accuracy": vote, f"{way}_r{NEAREST}": found}
            figures[f"{way}_most_frequent"] = float(np.bincount(truth[truth >= 0]).max() / len(truth))
            figures[f"{way}_chance_r{NEAREST}"] = min(1.0, NEAREST / len(two.data("test")))
    return figures


def own_among_nearest(ids: list[str], vectors: np.ndarray, others: list[str], among: np.ndarray) -> float:
    """Share of items [N, D] that have the one of `among` [M, D] with their id among their nearest by cosine."""
    nearest = np.argsort(-(unit(vectors) @ unit(among).T), 1)[:, :NEAREST]
    return float(np.mean([id in {others[i] for i in row} for id, row in zip(ids, nearest, strict=True)]))


def _ids(subject: Subject) -> list[str]:
    return [record.id for record in subject.data("test").records]


def _numbers(subject: Subject, split: str, of: Subject) -> np.ndarray:
    """Labels as the other's classes count them; -1 for one that it does not have."""
    places = {name: number for number, name in enumerate(of.classes)}
    return np.array([places.get(subject.classes[label], -1) for label in subject.labels(split)])
