"""Is an encoder learning anything? Figures cheap enough to watch while it trains."""
# N items, D features, k neighbours

import numpy as np
import torch

from enfold.modalities import Arrays
from enfold.model import unit
from enfold.rankme import rankme
from training.encoders import Encoder

BATCH = 256
NEIGHBOURS = 20
TEMPERATURE = 0.07
COLLAPSED_STD = 0.01  # of `feature_std`; random weights give tens of times as much
COLLAPSED_RANK = 1.5


class LiveProbe:
    """RankMe and spread of training items' embeddings; with labels, kNN accuracy of validation items among them.

    train       encoder inputs, as serving prepares them
    labelled    (labels of `train`, encoder inputs of validation, their labels)
    """

    def __init__(self, train: Arrays, labelled: tuple[np.ndarray, Arrays, np.ndarray] | None = None):
        self._train, self._labelled = train, labelled

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        train = features(encoder, self._train)
        figures = {"rankme": rankme(train), "feature_std": feature_std(train)}
        if self._labelled is None:
            return figures
        labels, val, val_labels = self._labelled
        return {"knn_accuracy": knn_accuracy(train, labels, features(encoder, val), val_labels)} | figures


def collapsed(figures: dict[str, float]) -> bool:
    """Whether every item gets nearly the same embedding."""
    return figures["feature_std"] < COLLAPSED_STD or figures["rankme"] < COLLAPSED_RANK


def features(encoder: Encoder, inputs: Arrays) -> np.ndarray:
    """Embeddings [N, D] in float32, in evaluation mode; the encoder is left in the mode it was in."""
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters(), torch.empty(0)).device  # a joined tower has none
    count = len(next(iter(inputs.values())))
    rows = []
    with torch.inference_mode():
        for at in range(0, count, BATCH):
            batch = {name: torch.from_numpy(array[at : at + BATCH]).to(device) for name, array in inputs.items()}
            rows.append(encoder(batch).embedding.float().cpu().numpy())
    encoder.train(was_training)
    return np.concatenate(rows)


def knn_accuracy(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, k: int = NEIGHBOURS
) -> float:
    """Share of test items whose label `knn_vote` names."""
    return float((knn_vote(train, train_labels, test, k) == test_labels).mean())


def knn_vote(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """The label [M] that the k nearest by cosine vote for, each weighted by exp(cosine / 0.07).

    train [N, D], test [M, D]. Wu et al. 2018, arXiv:1805.01978.
    """
    scores = unit(test) @ unit(train).T  # [M, N]
    k = min(k, len(train))
    nearest = np.argpartition(-scores, k - 1, axis=1)[:, :k]  # [M, k]
    weights = np.exp((np.take_along_axis(scores, nearest, 1) - 1) / TEMPERATURE)
    votes = np.zeros((len(test), int(train_labels.max()) + 1))
    for column in range(k):
        np.add.at(votes, (np.arange(len(test)), train_labels[nearest[:, column]]), weights[:, column])
    return votes.argmax(1)


def feature_std(embeddings: np.ndarray) -> float:
    """Mean spread of a feature over unit-length embeddings [N, D], times sqrt(D): 1 = evenly spread, 0 = one point.

    Chen and He 2021 (SimSiam), arXiv:2011.10566, watch it for collapse.
    """
    return float(unit(embeddings).std(0).mean() * np.sqrt(embeddings.shape[1]))
