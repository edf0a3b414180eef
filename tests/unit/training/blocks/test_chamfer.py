"""Chamfer's distance against its definition, point by point."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from training.blocks.chamfer import chamfer_l2


def test_it_is_the_mean_squared_distance_to_the_nearest_both_ways():
    first, second = torch.randn(3, 20, 3), torch.randn(3, 30, 3)
    wanted = [
        (cKDTree(b).query(a)[0] ** 2).mean() + (cKDTree(a).query(b)[0] ** 2).mean()
        for a, b in zip(first.numpy(), second.numpy(), strict=True)
    ]
    np.testing.assert_allclose(chamfer_l2(first, second).numpy(), wanted, rtol=1e-5)


def test_equal_sets_are_at_distance_nothing_with_a_finite_slope():
    points = torch.randn(2, 12, 3, requires_grad=True)
    shuffled = points.detach()[:, torch.randperm(12)]
    distance = chamfer_l2(points, shuffled).sum()
    distance.backward()
    assert distance == 0
    assert torch.isfinite(points.grad).all()
