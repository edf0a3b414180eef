"""F1 of linear probes for what a game's memory says at each observation: where things stand, and how they move.

Anand et al. 2019, arXiv:1906.08226. A variable is a column `ram_…` or `motion_…` beside the items of a game, its class,
and has a probe for each game. One of more than eight values is cut at quantiles of the training split: chance is about
an eighth, of a motion (back, none, forth) a third. F1 counts every value alike; items where memory says nothing are
left out, and those of a value that fewer than a fiftieth have: single items would decide of its F1.
"""
# N items, D features

from collections.abc import Iterator

import numpy as np
from sklearn.metrics import f1_score

from training.evaluation import Subject
from training.evaluation.linear_probe import PENALTIES, fit_probe

Splits = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> embeddings [N, D], values or classes [N]

NEEDS_LABELS = True
KINDS = ("ram_", "motion_")
VALUES = 8  # of a variable, at most
RARE = 1 / 50  # of the training items
SPLITS = ("train", "val", "test")


def evaluate(subject: Subject) -> dict[str, float]:
    found = {}
    for game, name in variables(subject):
        data = common({split: known(subject, split, game, name) for split in SPLITS})
        if len(np.unique(data["train"][1])) > 1:
            found[f"{game}_{name}"] = best_f1(data)
    of_kind = {kind: [score for name, score in found.items() if f"_{kind}" in name] for kind in KINDS}
    means = {f"{kind}f1": float(np.mean(scores)) for kind, scores in of_kind.items() if scores}
    return {"f1": float(np.mean(list(found.values()))), **means, **found}


def variables(subject: Subject) -> Iterator[tuple[str, str]]:
    """Of each game, those that some training item has."""
    records = subject.data("train").records
    for game in subject.classes:
        names = dict.fromkeys(name for record in records if record.label == game for name in record.payload)
        yield from ((game, name) for name in names if name.startswith(KINDS))


def known(subject: Subject, split: str, game: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N, D] and values [N] of a game's items that have the variable."""
    records = subject.data(split).records
    rows = [i for i, record in enumerate(records) if record.label == game and name in record.payload]
    return subject.features(split)[rows], np.array([float(records[i].payload[name]) for i in rows])


def common(seen: Splits) -> Splits:
    """Embeddings and classes of the items whose class is no rare one, from embeddings and values."""
    borders = cuts(seen["train"][1])
    classes = {split: np.searchsorted(borders, values) for split, (_, values) in seen.items()}
    counts = np.bincount(classes["train"])
    kept = {split: np.isin(own, np.flatnonzero(counts >= RARE * counts.sum())) for split, own in classes.items()}
    return {split: (features[kept[split]], classes[split][kept[split]]) for split, (features, _) in seen.items()}


def cuts(values: np.ndarray) -> np.ndarray:
    """Borders between the values [N] that a probe tells apart, ascending."""
    distinct = np.unique(values)
    if len(distinct) > VALUES:
        distinct = np.unique(np.quantile(values, np.arange(VALUES) / VALUES))
    return distinct[1:] - 0.5


def best_f1(data: Splits) -> float:
    """On the test split, by the penalty that does best on validation."""
    probes = [fit_probe(*data["train"], penalty) for penalty in PENALTIES]
    scores = {
        split: [_f1(truth, probe.predict(features)) for probe in probes] for split, (features, truth) in data.items()
    }
    return scores["test"][int(np.argmax(scores["val"]))]


def _f1(truth: np.ndarray, answers: np.ndarray) -> float:
    return float(f1_score(truth, answers, average="macro", zero_division=0))
