"""Contrast of two towers, against its formula and by its laws."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.blocks.clip_loss import LogitScale, clip_loss

SCALE = torch.tensor(7.0)


def pairs(B: int = 6, P: int = 5) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    return torch.randn(B, P, generator=chance), torch.randn(B, P, generator=chance)


def by_hand(first: np.ndarray, second: np.ndarray, scale: float, same: np.ndarray) -> float:
    """Pair by pair, without a matrix."""
    total = 0.0
    for one, other, skipped in ((first, second, same), (second, first, same.T)):
        for i, query in enumerate(one):
            kept = [j for j in range(len(other)) if j == i or not skipped[i, j]]
            cosines = {j: query @ other[j] / np.linalg.norm(query) / np.linalg.norm(other[j]) for j in kept}
            total += math.log(sum(math.exp(scale * value) for value in cosines.values())) - scale * cosines[i]
    return total / (2 * len(first))


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_it_is_the_mean_of_both_cross_entropies(share: float):
    first, second = pairs()
    same = torch.rand(6, 6, generator=torch.Generator().manual_seed(1)) < share
    wanted = by_hand(first.double().numpy(), second.double().numpy(), 7.0, same.numpy())
    assert clip_loss(first, second, SCALE, same=same).item() == pytest.approx(wanted, rel=1e-5)


def test_towers_may_be_exchanged_and_pairs_be_in_any_order():
    first, second = pairs()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    loss = clip_loss(first, second, SCALE)
    torch.testing.assert_close(clip_loss(second, first, SCALE), loss)
    torch.testing.assert_close(clip_loss(first[order], second[order], SCALE), loss)
    assert not torch.isclose(clip_loss(first[order], second, SCALE), loss)


def test_one_pair_has_nothing_to_be_mistaken_for():
    first, second = pairs(B=1)
    assert clip_loss(first, second, SCALE).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("B", [2, 6])
def test_collapsed_towers_guess(B: int):
    one = torch.ones(B, 5)
    assert clip_loss(one, one, SCALE).item() == pytest.approx(math.log(B), rel=1e-5)


def test_only_angles_count():
    first, second = pairs()
    torch.testing.assert_close(clip_loss(3 * first, 0.1 * second, SCALE), clip_loss(first, second, SCALE))


def test_the_scale_begins_at_one_by_temperature_and_is_held_between_1_and_100():
    scale = LogitScale()
    assert scale().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        scale.logarithm.fill_(math.log(130))
    loss = F.mse_loss(scale(), torch.tensor(50.0))
    loss.backward()
    assert scale.logarithm.grad is not None
    assert scale.logarithm.grad != 0  # there is a way back
    scale.clamp()
    assert scale().item() == pytest.approx(100)
    with torch.no_grad():
        scale.logarithm.fill_(-2.0)
    scale.clamp()
    assert scale().item() == pytest.approx(1)
