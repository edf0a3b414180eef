"""Chamfer distance: how far two sets of points lie apart, each point from the nearest of the other set."""
# B sets, N and M points

from torch import Tensor


def chamfer_l2(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distances both ways, added up, [B, N, 3] and [B, M, 3] -> [B]; no root, whose slope at 0 is endless.

    Fan, Su and Guibas 2017, arXiv:1612.00603.
    """
    squared = (first[:, :, None] - second[:, None]).square().sum(3)  # [B, N, M]
    return squared.min(2).values.mean(1) + squared.min(1).values.mean(1)
