"""Boxes without anchors: every cell of a map that lies near the middle of a thing answers for it.

Tian et al. 2019 (FCOS), arXiv:1904.01355; in three dimensions Hu et al. 2023 (NeRF-RPN), arXiv:2211.11646; the sizes
that each cell answers with are those of boxes along the axes.
"""
# B items, N cells, M things, K labels

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_NEAR = 1.5  # cells from the middle of a thing, along each axis
_BALANCE, _FOCUS = 0.25, 2.0


def targets(boxes: np.ndarray, labels: np.ndarray, cells: np.ndarray, side: float) -> tuple[np.ndarray, ...]:
    """What each cell answers for: label int64 [N], -1 for nothing; box float32 [N, 6]; how central it is, float32 [N].

    boxes    [M, 6]  centre and size            cells   [N, 3]  their middles, in the same unit
    labels   [M]                                side    of a cell

    Of things that share a cell the smaller one takes it; one that is thinner than a cell has a cell all the same.
    """
    found = np.full(len(cells), -1, np.int64), np.zeros((len(cells), 6), np.float32), np.zeros(len(cells), np.float32)
    for number in np.argsort(-boxes[:, 3:].prod(1), kind="stable"):
        half = boxes[number, 3:] / 2
        away = np.abs(cells - boxes[number, :3])
        own = (away <= np.minimum(np.maximum(half, side / 2), _NEAR * side)).all(1)
        least, most = np.clip(half - away[own], 1e-3, None), half + away[own]
        found[0][own], found[1][own] = labels[number], boxes[number]
        found[2][own] = np.cbrt((least / most).prod(1))
    return found


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over cells and labels, easy ones counting little: logits [B, N, K], labels [B, N] with -1 for none.

    Lin et al. 2017, arXiv:1708.02002.
    """
    wanted = F.one_hot(labels.clamp(min=0), logits.shape[-1]) * (labels >= 0)[..., None]
    wanted = wanted.to(logits.dtype)
    error = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    surprise = (logits.sigmoid() - wanted).abs() ** _FOCUS
    return (error * surprise * (_BALANCE * wanted + (1 - _BALANCE) * (1 - wanted))).sum()


def apart(one: Tensor, other: Tensor) -> Tensor:
    """1 - generalised overlap of boxes [N, 6] along the axes, pair by pair, [N]: 0 where they are the same, 2 far away.

    Rezatofighi et al. 2019 (GIoU), arXiv:1902.09630.
    """
    low, high = ([box[:, :3] + sign * box[:, 3:] / 2 for box in (one, other)] for sign in (-1, 1))
    shared = (torch.minimum(*high) - torch.maximum(*low)).clamp(min=0).prod(1)
    together = one[:, 3:].prod(1) + other[:, 3:].prod(1) - shared
    around = (torch.maximum(*high) - torch.minimum(*low)).prod(1)
    return 1 - shared / together + (around - together) / around
