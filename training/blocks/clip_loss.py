"""Contrast of two towers: which text belongs to which image, among a batch's, and which image to which text.

Radford et al. 2021 (CLIP), arXiv:2103.00020. One implementation for whatever kinds the towers read.
"""
# B pairs, P features of the shared space

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LogitScale(nn.Module):
    """What cosines are multiplied by: learnt as a logarithm, and never less than 1 or more than 100."""

    least, most = 1.0, 100.0

    def __init__(self, initial: float = 1 / 0.07):
        super().__init__()
        self.logarithm = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        return self.logarithm.exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """After every step; within `forward` it would stop the gradient that leads back."""
        self.logarithm.clamp_(math.log(self.least), math.log(self.most))


def clip_loss(first: Tensor, second: Tensor, scale: Tensor, *, same: Tensor | None = None) -> Tensor:
    """Mean of both ways' cross-entropies; 0 for one pair, ln B where all of either tower's embeddings are one.

    first, second   [B, P]  of the same pair in row i; need not be of unit length
    scale           []      what their cosines are multiplied by
    same            [B, B]  pairs that show or say the same, which are no wrong answers to each other
    """
    scores = scale * (F.normalize(first.float(), dim=1) @ F.normalize(second.float(), dim=1).T)
    if same is not None:
        scores = scores.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), -torch.inf)
    return matching(scores)


def matching(scores: Tensor) -> Tensor:
    """Cross-entropy of the diagonal of [B, B], the mean of both axes'."""
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
