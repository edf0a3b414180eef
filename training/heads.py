"""Classification heads over an embedding, and on disk with what their probabilities and OOD score rest on."""
# C classes, D features, N items

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.tasks import softmax
from enfold.tasks.classify import relative_mahalanobis
from training.blocks.projection_head import projection_layer

_SHRINKAGE = 0.1  # of the covariances towards a sphere: few items per class leave them near singular


class Head(nn.Module):
    """embedding [B, D] -> logits [B, C], through layers kept of a projection head where there are any."""

    kind = "linear"

    def __init__(self, dim: int, classes: int, kept: Sequence[int] = ()):
        """kept   widths of the kept layers"""
        super().__init__()
        self.dim, self.kept = dim, tuple(kept)
        self.facts = {"dim": dim, "kept": self.kept}
        widths = [dim, *kept]
        self.neck = nn.Sequential(*(projection_layer(a, b, relu=True) for a, b in pairwise(widths)))
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, embedding: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.neck(embedding))
        return logits


class PrototypeHead(nn.Module):
    """embedding [B, D] -> logits [B, C]: less the training mean, at length 1, minus squared distances to prototypes.

    Wang et al. 2019 (SimpleShot), arXiv:1911.04623.
    """

    kind = "prototypes"
    mean: Tensor  # [D]
    prototypes: Tensor  # [C, D]

    def __init__(self, dim: int, classes: int):
        super().__init__()
        self.facts = {"dim": dim}
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("prototypes", torch.zeros(classes, dim))

    def forward(self, embedding: Tensor) -> Tensor:
        direction = F.normalize(embedding - self.mean, dim=1)
        return -(direction[:, None] - self.prototypes).square().sum(2)


AnyHead = Head | PrototypeHead
KINDS: dict[str, type[AnyHead]] = {head.kind: head for head in (Head, PrototypeHead)}


def logits_of(head: AnyHead, embeddings: np.ndarray) -> np.ndarray:
    """[N, D] -> [N, C]"""
    with torch.inference_mode():
        found: np.ndarray = head.eval()(torch.from_numpy(embeddings)).numpy()
    return found


def save_head(
    folder: Path, head: AnyHead, labels: tuple[str, ...], temperature: float, statistics: dict[str, np.ndarray]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in head.state_dict().items()}, folder / "head.safetensors")
    kept: dict[str, Any] = {key: value.astype(np.float32) for key, value in statistics.items()}
    np.savez(folder / "statistics.npz", **kept)
    facts = {"kind": head.kind, **head.facts, "labels": labels, "temperature": temperature}
    (folder / "head.json").write_text(json.dumps(facts))


def load_head(folder: Path) -> tuple[AnyHead, list[str], float]:
    """The head with its labels and temperature."""
    facts = json.loads((folder / "head.json").read_bytes())
    kind, labels, temperature = (facts.pop(name) for name in ("kind", "labels", "temperature"))
    head = KINDS[kind](classes=len(labels), **facts)
    head.load_state_dict(load_file(folder / "head.safetensors"))
    return head.eval(), labels, temperature


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
