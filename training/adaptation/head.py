"""A classification head on disk: weights, labels, and what its probabilities and OOD score rest on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar
from torch import nn

from enfold.tasks import softmax
from enfold.tasks.classify import relative_mahalanobis

_SHRINKAGE = 0.1  # of the covariances towards a sphere: few items per class leave them near singular


def save_head(
    folder: Path,
    weight: np.ndarray,
    bias: np.ndarray,
    labels: tuple[str, ...],
    temperature: float,
    statistics: dict[str, np.ndarray],
) -> None:
    """weight [C, D] and bias [C] act on the raw embedding [B, D]."""
    tensors = {
        "weight": torch.from_numpy(np.ascontiguousarray(weight, np.float32)),
        "bias": torch.from_numpy(bias.astype(np.float32)),
    }
    save_file(tensors, folder / "head.safetensors")
    kept: dict[str, Any] = {key: value.astype(np.float32) for key, value in statistics.items()}
    np.savez(folder / "statistics.npz", **kept)
    (folder / "head.json").write_text(json.dumps({"labels": labels, "temperature": temperature}))


def load_head(folder: Path) -> tuple[nn.Linear, list[str], float]:
    """The head with its labels and temperature."""
    tensors, facts = load_file(folder / "head.safetensors"), json.loads((folder / "head.json").read_bytes())
    classes, dim = tensors["weight"].shape
    head = nn.Linear(dim, classes)
    head.load_state_dict(tensors)
    return head.eval(), facts["labels"], facts["temperature"]


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
