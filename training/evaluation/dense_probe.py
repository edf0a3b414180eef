"""Mean intersection over union of a linear head on frozen tokens, learnt from a share of the masks beside the images.

The head says for every token which share of its patch each class takes, by least cross-entropy (L-BFGS); a class
weighs by the square root of how rare it is, since the figure counts classes alike. Its penalty is chosen on validation,
and its logits are brought to the mask's size bilinearly. `miou` is learnt from 2,000 masks of the training split or all
that there are, `miou_at_5` from 5 % of those. Classes are the shades of a side named `mask` that the test split shows.
"""
# N items, P tokens of an item on a grid of G x G, D features, K classes, H W of a mask

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.data.dataset import Dataset
from training.encoders import Encoder
from training.evaluation import Subject
from training.probes import BATCH

NEEDS_LABELS = False
SHARES = (1, 5, 25, 100)  # percent
PENALTIES = (1e-3, 1e-2, 1e-1)  # of squared weights
ITEMS = 2000  # of the training split at most, the first in the order of a seed
STEPS = 60


def evaluate(subject: Subject) -> dict[str, float]:
    assert subject.encoder is not None
    order = np.random.default_rng(subject.run.seed).permutation(len(subject.data("train")))[:ITEMS]
    parts = {split: subject.data(split) for split in ("val", "test")} | {"train": subject.data("train").subset(order)}
    masks = {split: torch.from_numpy(masks_of(data, subject)) for split, data in parts.items()}
    classes = 1 + int(max(found.max() for found in masks.values()))
    found = {split: tokens(subject.encoder, data.inputs(subject.modality)["image"]) for split, data in parts.items()}
    mean, std = found["train"].mean((0, 1)), found["train"].std((0, 1)) + 1e-6
    train, val, test = ((found[split] - mean) / std for split in ("train", "val", "test"))
    grid = math.isqrt(train.shape[1])
    wanted = torch.stack([shares_of(mask, classes, grid) for mask in masks["train"]])
    figures = {}
    for share in SHARES:
        count = max(1, len(train) * share // 100)
        heads = [fit(train[:count], wanted[:count], penalty) for penalty in PENALTIES]
        best = max(heads, key=lambda head: miou(head(val), masks["val"], classes))
        figures["miou" if share == 100 else f"miou_at_{share}"] = miou(best(test), masks["test"], classes)
    return figures


@dataclass(frozen=True)
class Linear:
    """[..., D] -> [..., K]"""

    weight: Tensor  # [D, K]
    bias: Tensor  # [K]

    def __call__(self, features: Tensor) -> Tensor:
        return features @ self.weight + self.bias


def masks_of(data: Dataset, subject: Subject) -> np.ndarray:
    """uint8 [N, H, W]"""
    reader = subject.run.sides["mask"]
    return np.stack([data.side(i, "mask", reader)[..., 0] for i in range(len(data))])


@torch.inference_mode()
def tokens(encoder: Encoder, images: np.ndarray) -> Tensor:
    """float32 [N, P, D]"""
    encoder.eval()
    rows = [encoder({"image": torch.from_numpy(images[at : at + BATCH])}) for at in range(0, len(images), BATCH)]
    return torch.cat([one.tokens for one in rows])


def shares_of(mask: Tensor, classes: int, grid: int) -> Tensor:
    """Share that each class takes of each patch of a mask [H, W]: [P, K]."""
    one_hot = F.one_hot(mask.long(), classes).permute(2, 0, 1).float()  # [K, H, W]
    return F.adaptive_avg_pool2d(one_hot, grid).flatten(1).T


def fit(features: Tensor, wanted: Tensor, penalty: float) -> Linear:
    """The head of least cross-entropy and penalty on features [N, P, D] and shares [N, P, K]."""
    x, y = features.flatten(0, 1), wanted.flatten(0, 1)
    rarity = y.mean(0).clamp(min=1 / len(y)).rsqrt()
    y = y * rarity / (y @ rarity).mean()
    weight, bias = torch.zeros(x.shape[1], y.shape[1], requires_grad=True), torch.zeros(y.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, y) + penalty * weight.square().sum()
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    return Linear(weight.detach(), bias.detach())


def miou(logits: Tensor, masks: Tensor, classes: int) -> float:
    """Of logits [N, P, K] against masks [N, H, W], over the classes that the masks show."""
    grid = math.isqrt(logits.shape[1])
    counts = torch.zeros(classes, classes, dtype=torch.int64)  # [true, said]
    for rows, truth in zip(logits.split(BATCH), masks.split(BATCH), strict=True):
        maps = rows.transpose(1, 2).unflatten(2, (grid, grid))  # [B, K, G, G]
        said = F.interpolate(maps, truth.shape[1:], mode="bilinear").argmax(1)  # [B, H, W]
        counts += torch.bincount((truth.long() * classes + said).flatten(), minlength=classes**2).view(classes, classes)
    shown = counts.sum(1) > 0
    overlap = counts.diagonal() / (counts.sum(0) + counts.sum(1) - counts.diagonal()).clamp(min=1)
    return float(overlap[shown].mean())
