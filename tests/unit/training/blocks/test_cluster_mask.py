"""Masks in groups: how many, where, and how they hang together."""

import numpy as np
import pytest

from training.blocks.cluster_mask import cluster_mask

GRID = (8, 64)


def masks(cluster: int, count: int, times: int = 200) -> np.ndarray:
    """[times, rows, columns]"""
    made = [cluster_mask(GRID, count, cluster, np.random.default_rng(seed)) for seed in range(times)]
    return np.stack(made).reshape(times, *GRID)


def neighbours(mask: np.ndarray) -> float:
    """How many of the four patches beside a masked one are masked, on average."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    beside = [padded[:, 2:, 1:-1], padded[:, :-2, 1:-1], padded[:, 1:-1, 2:], padded[:, 1:-1, :-2]]
    return float(sum(one[mask].mean() for one in beside))


@pytest.mark.parametrize("cluster", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("count", [1, 200, 400, 512])
def test_exactly_so_many_are_hidden(cluster: int, count: int):
    assert (masks(cluster, count, 20).sum((1, 2)) == count).all()


def test_single_patches_are_drawn_evenly():
    share = masks(1, 205, 800).mean(0)
    assert share.mean() == pytest.approx(205 / 512)
    assert np.abs(share - share.mean()).max() < 0.08  # 4.6 standard deviations
    inner = neighbours(masks(1, 205))
    assert inner == pytest.approx(4 * 204 / 511 * (1 - (8 + 64) * 2 / (4 * 512)), rel=0.03)  # less at the edges


@pytest.mark.parametrize("cluster", [3, 4, 5])
def test_clusters_hang_together_more_than_single_patches(cluster: int):
    """At 40 %: where nearly all is hidden the two are close."""
    assert neighbours(masks(cluster, 205)) > neighbours(masks(1, 205)) + 0.5


def test_a_cluster_reaches_right_and_down_from_its_corner():
    """While there is room for one whole square: its top left corner is the patch that was drawn."""
    for seed in range(20):
        mask = cluster_mask(GRID, 9, 3, np.random.default_rng(seed)).reshape(GRID)
        top, left = divmod(int(np.random.default_rng(seed).permutation(512)[0]), 64)
        assert mask[top : top + 3, left : left + 3].all()
