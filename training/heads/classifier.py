"""Classification of embeddings, with what its probabilities and its OOD score rest on."""
# B batch, C classes, D features, N items

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from enfold.modalities import Arrays
from enfold.tasks import softmax
from enfold.tasks.classify import relative_mahalanobis
from training.blocks.projection_head import projection_layer
from training.encoders import Encoder
from training.heads import GraphModule, Head

_SHRINKAGE = 0.1  # of the covariances towards a sphere: few items per class leave them near singular


class ClassifierConfig(BaseModel, frozen=True, extra="forbid"):
    labels: tuple[str, ...] = Field(min_length=1)
    kept: tuple[int, ...] = ()  # widths of layers kept of a projection head


class ClassifyHead(Head):
    """embedding [B, D] -> logits [B, C]; `config.labels` names the columns."""

    task = "classify"

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {"embedding": np.zeros((2, encoder.dim), np.float32)}
        axes = {"embedding": {0: "batch"}}
        return {"head_classify": GraphModule("head", self, example, axes, ("out_classify",))}

    def spec(self) -> dict[str, Any]:
        return {"labels": list(self.config.labels), "head": "head_classify"}


class Classifier(ClassifyHead):
    """Linear, through layers kept of a projection head where there are any."""

    Config = ClassifierConfig
    config: ClassifierConfig

    def __init__(self, encoder: Encoder, config: ClassifierConfig):
        super().__init__(encoder, config)
        widths = [encoder.dim, *config.kept]
        self.neck = nn.Sequential(*(projection_layer(a, b, relu=True) for a, b in pairwise(widths)))
        self.classifier = nn.Linear(widths[-1], len(config.labels))

    def forward(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.neck(embedding))
        return logits


def logits_of(head: ClassifyHead, embeddings: np.ndarray) -> np.ndarray:
    """[N, D] -> [N, C]"""
    with torch.inference_mode():
        found: np.ndarray = head.eval()(torch.from_numpy(embeddings)).numpy()
    return found


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of least negative log-likelihood on held-out items (Guo et al. 2017, arXiv:1706.04599).

    logits [N, C], labels [N]
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature))
        return float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def ood_statistics(train: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> dict[str, np.ndarray]:
    """What `enfold.tasks.classify.relative_mahalanobis` needs, from embeddings [N, D] and held-out ones [M, D]."""
    means = np.stack([train[labels == label].mean(0) for label in np.unique(labels)])
    rows = np.searchsorted(np.unique(labels), labels)
    mean = train.mean(0)
    known = {
        "means": means,
        "precision": _precision(train - means[rows]),
        "mean": mean,
        "background": _precision(train - mean),
    }
    return known | {"distances": np.sort(relative_mahalanobis(held_out, **known))}


def _precision(centred: np.ndarray) -> np.ndarray:
    covariance = centred.T @ centred / len(centred)
    sphere = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    return np.linalg.inv((1 - _SHRINKAGE) * covariance + _SHRINKAGE * sphere)


HEAD = Classifier
