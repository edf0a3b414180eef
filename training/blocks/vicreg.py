"""VICReg: views of an item close together, every feature spread over the batch, no two features alike.

Bardes et al. 2022, arXiv:2105.04906.
"""
# B items, P features of a projection

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_EPSILON = 1e-4  # under the square root: its slope at 0 has no end


class VICReg(NamedTuple):
    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg(first: Tensor, second: Tensor) -> VICReg:
    """The three terms, unweighted: of the spread the mean over both views, of what features share the sum.

    first, second   [B, P]  projections of two views, row i of both of the same item
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = first.float(), second.float()
        return VICReg(
            invariance=F.mse_loss(first, second),
            variance=(variance(first) + variance(second)) / 2,
            covariance=covariance(first) + covariance(second),
        )


def variance(projection: Tensor) -> Tensor:
    """How far the deviations over the batch fall short of 1, the mean over features [B, P]."""
    return F.relu(1 - (projection.var(0) + _EPSILON).sqrt()).mean()


def covariance(projection: Tensor) -> Tensor:
    """Squared covariances of different features [B, P], their sum over P."""
    B, P = projection.shape
    centred = projection - projection.mean(0)
    shared = centred.T @ centred / (B - 1)  # [P, P]
    return (shared.square().sum() - shared.diagonal().square().sum()) / P
