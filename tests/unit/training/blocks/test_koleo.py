"""KoLeo against its formula written out, and its laws."""

import math

import pytest
import torch

from training.blocks.koleo import koleo


def points(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(0))


def test_it_is_the_formula_of_the_paper():
    x = [row / row.norm() for row in points()]
    by_hand = -sum(math.log(min(float((a - b).norm()) for b in x if b is not a)) for a in x) / len(x)
    assert koleo(points()).item() == pytest.approx(by_hand, rel=1e-5)


def test_it_grows_without_bound_but_stays_finite_as_two_coincide():
    x, values = points(), []
    for nearness in (1.0, 0.1, 0.001, 0.0):
        near = torch.cat([x, x[:1] + nearness * torch.ones(1, 5)])
        values.append(koleo(near).item())
    assert values == sorted(values)
    assert math.isfinite(values[-1])
    assert values[-1] > values[0] + 3


def test_a_step_against_its_gradient_drives_neighbours_apart():
    x = points().requires_grad_()
    before = koleo(x)
    before.backward()
    assert x.grad is not None
    assert koleo(x.detach() - 0.01 * x.grad) < before


def test_it_is_computed_in_fp32():
    near = torch.tensor([[1.0, 0.0], [1.0, 1e-4], [-1.0, 0.0]])
    with torch.autocast("cpu", torch.bfloat16):
        assert koleo(near).item() == pytest.approx(koleo(near.double()).item(), rel=1e-3)


def test_length_does_not_count():
    torch.testing.assert_close(koleo(points()), koleo(points() * torch.rand(6, 1).add(0.5)))
