"""Supervised contrast: of all other items in the batch, which ones are of the same class?

Khosla et al. 2020 (SupCon), arXiv:2004.11362, equation 2.
"""
# N items or views of items, P features of a projection

import torch
from torch import Tensor
from torch.nn import functional as F


def supcon(features: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Mean over N of the cross-entropy of finding an item's positives, each in turn, among the N - 1 others.

    features   [N, P]  need not be of unit length
    labels     [N]     equal labels are each other's positives; an item without any adds nothing to the mean

    With two views of N / 2 items, all of different labels, it is NT-Xent.
    """
    N = len(features)
    units = F.normalize(features.float(), dim=1)
    itself = torch.eye(N, dtype=torch.bool, device=features.device)
    scores = (units @ units.T / temperature).masked_fill(itself, -torch.inf)  # [N, N]
    positive = (labels[:, None] == labels) & ~itself
    found = F.log_softmax(scores, 1).masked_fill(~positive, 0).sum(1) / positive.sum(1).clamp(min=1)  # [N]
    return -found.mean()
