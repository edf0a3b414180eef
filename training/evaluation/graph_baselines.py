"""What a graph tells without an encoder: by the features of nodes, of their neighbourhoods, or by labels alone.

`raw` and `smoothed` are logistic regressions of the centre's features, or of their mean over neighbours taken twice
(A^2 X; Wu et al. 2019, SGC, arXiv:1902.07153); `propagation` passes the labels of training along the edges of all
items together (Zhou et al. 2003, "Learning with Local and Global Consistency"), and sees no features.
"""
# N items, n nodes of all items, M places of nodes, F numbers of a node, C classes

import numpy as np
from scipy.sparse import csr_array, diags_array
from sklearn.pipeline import Pipeline

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.graph import CENTRE, Network
from training.evaluation import Subject
from training.evaluation.linear_probe import PENALTIES, fit_probe

NEEDS_LABELS = True
SPLITS = ("train", "val", "test")
SHARES, ROUNDS = (0.5, 0.9, 0.99), 50  # of what neighbours say, against a node's own label


def evaluate(subject: Subject) -> dict[str, float]:
    inputs = {split: subject.prepared(split) for split in SPLITS}
    if not all((one["kinds"] == CENTRE).any(1).all() for one in inputs.values()):
        raise WrongUse(f"graphs of '{subject.dataset.name}' have no centre: their nodes are no items to be compared")
    seen = {
        "raw": {split: one["features"][one["kinds"] == CENTRE] for split, one in inputs.items()},
        "smoothed": {split: smoothed(one)[one["kinds"] == CENTRE] for split, one in inputs.items()},
    }
    figures = {f"{name}_accuracy": accuracy(subject, features) for name, features in seen.items()}
    return figures | {"propagation_accuracy": propagated(subject)}


def accuracy(subject: Subject, features: dict[str, np.ndarray]) -> float:
    """Of logistic regression, its penalty chosen on validation."""

    def score(probe: Pipeline, split: str) -> float:
        return float(probe.score(features[split], subject.labels(split)))

    tried = [fit_probe(features["train"], subject.labels("train"), penalty) for penalty in PENALTIES]
    return score(max(tried, key=lambda probe: score(probe, "val")), "test")


def smoothed(inputs: Arrays) -> np.ndarray:
    """The mean of every node and its neighbours, taken twice, [N, M, F]"""
    found, neighbours = inputs["features"], inputs["neighbours"]
    graph = np.arange(len(found))[:, None, None]
    for _ in range(2):
        behind = np.pad(found, ((0, 0), (1, 0), (0, 0)))  # neighbour 0 is none
        total = found + sum(behind[graph[..., 0], neighbours[..., k]] for k in range(neighbours.shape[2]))
        found = total / (1 + (neighbours > 0).sum(2, keepdims=True))
    return found


def propagated(subject: Subject) -> float:
    """Accuracy of labels that training's nodes pass on; the share of neighbours is chosen on validation."""
    networks = {split: _networks(subject, split) for split in SPLITS}
    spread = _spread([one for own in networks.values() for one in own])
    place = {name: number for number, name in enumerate(spread[0])}
    own = {split: np.array([place[centre(one)] for one in found]) for split, found in networks.items()}
    start = np.zeros((len(place), len(subject.classes)))
    start[own["train"], subject.labels("train")] = 1
    usual = start.sum(0) / 1e6  # where no label arrives
    tried = []
    for share in SHARES:
        told = start
        for _ in range(ROUNDS):
            told = share * (spread[1] @ told) + (1 - share) * start
        right = {
            split: float(((told + usual)[own[split]].argmax(1) == subject.labels(split)).mean()) for split in SPLITS
        }
        tried.append((right["val"], right["test"]))
    return max(tried)[1]


def centre(network: Network) -> str:
    assert network.centre is not None
    return network.names[network.centre]


def _networks(subject: Subject, split: str) -> list[Network]:
    data = subject.data(split)
    return [data.read(i, subject.modality) for i in range(len(data))]


def _spread(networks: list[Network]) -> tuple[list[str], csr_array]:
    """The names of all nodes, and their edges in both directions, each over the root of the degrees at its ends."""
    joined = {(one.names[a], one.names[b]) for one in networks for a, b in one.edges}
    names = sorted({name for one in networks for name in one.names})
    place = {name: number for number, name in enumerate(names)}
    ends = np.array([[place[a], place[b]] for a, b in joined], np.int64).reshape(-1, 2)
    once = csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    both = once.maximum(once.T)
    weight = diags_array(1 / np.sqrt(np.maximum(both.sum(1), 1)))
    return names, csr_array(weight @ both @ weight)
