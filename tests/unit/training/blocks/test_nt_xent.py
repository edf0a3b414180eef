"""NT-Xent against its formula written out, and its laws."""

import math

import pytest
import torch

from training.blocks.nt_xent import nt_xent


def views(count: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.randn(2, count, 8, generator=torch.Generator().manual_seed(seed))
    return made[0], made[1]


def test_it_is_the_formula_of_the_paper():
    first, second = views()
    everyone = [v / v.norm() for v in [*first, *second]]
    total = 0.0
    for i in range(10):
        j = (i + 5) % 10
        others = sum(math.exp(float(everyone[i] @ everyone[k]) / 0.3) for k in range(10) if k != i)
        total -= math.log(math.exp(float(everyone[i] @ everyone[j]) / 0.3) / others)
    assert nt_xent(first, second, temperature=0.3).item() == pytest.approx(total / 10, rel=1e-5)


def test_the_two_views_are_equals_and_the_order_of_items_does_not_count():
    first, second = views()
    loss, order = nt_xent(first, second, temperature=0.1), torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(nt_xent(second, first, temperature=0.1), loss)
    torch.testing.assert_close(nt_xent(first[order], second[order], temperature=0.1), loss)


def test_lengths_do_not_count():
    first, second = views()
    torch.testing.assert_close(
        nt_xent(3 * first, 0.1 * second, temperature=0.2), nt_xent(first, second, temperature=0.2)
    )


def test_all_alike_is_chance():
    same = torch.ones(6, 4)
    assert nt_xent(same, same, temperature=0.5).item() == pytest.approx(math.log(11))
