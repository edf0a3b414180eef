"""VICReg's terms against their formula, and what each of them is blind to."""

import pytest
import torch

from training.blocks.vicreg import covariance, variance, vicreg


def points(count: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_formula_of_the_paper():
    terms, (x, y) = vicreg(points(), points(seed=1)), (points(), points(seed=1))
    assert terms.invariance.item() == pytest.approx(((x - y) ** 2).mean().item())
    short = [max(0.0, 1 - float((one[:, d].var() + 1e-4).sqrt())) for one in (x, y) for d in range(5)]
    assert terms.variance.item() == pytest.approx(sum(short) / 10, rel=1e-5)
    shared = [torch.cov(one.T) for one in (x, y)]
    off = sum(float(c[i, j] ** 2) for c in shared for i in range(5) for j in range(5) if i != j)
    assert terms.covariance.item() == pytest.approx(off / 5, rel=1e-5)


def test_features_that_vary_apart_share_nothing():
    apart = torch.linalg.qr(points(8) - points(8).mean(0))[0] * 3  # centred columns at right angles
    assert covariance(apart).item() == pytest.approx(0, abs=1e-6)  # two sums of 8 in float32 are subtracted
    assert covariance(apart + apart.roll(1, 1)).item() > 0.1


def test_a_constant_output_costs_variance_and_a_wide_one_none():
    assert variance(torch.ones(8, 5)).item() == pytest.approx(0.99)  # one less the root of epsilon
    assert variance(points() * 50).item() == 0


def test_a_constant_output_has_a_slope_to_leave_by():
    still = torch.ones(4, 5) + 1e-4 * points(4)
    still.requires_grad_()
    variance(still).backward()
    assert still.grad is not None
    assert torch.isfinite(still.grad).all()
    assert still.grad.abs().sum() > 0


def test_a_shift_of_all_items_changes_only_agreement():
    plain, moved = vicreg(points(), points(seed=1)), vicreg(points() + 3, points(seed=1))
    torch.testing.assert_close((moved.variance, moved.covariance), (plain.variance, plain.covariance))
    assert moved.invariance > plain.invariance


def test_it_is_computed_in_fp32():
    with torch.autocast("cpu", torch.bfloat16):
        halved = vicreg(points(), points(seed=1))
    torch.testing.assert_close(halved, vicreg(points(), points(seed=1)), rtol=0, atol=0)
