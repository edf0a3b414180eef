"""Measured values, and intervals that hold as often as they say."""

from pathlib import Path

import numpy as np
import pytest

from enfold.tasks import Prepared
from enfold.tasks.regress import PERCENT, Regress, RegressOptions, RegressSpec, error_quantiles


def test_as_many_of_new_items_lie_inside_as_were_asked_for():
    """On average over held-out sets, whatever the errors' distribution, of which nothing is supposed."""
    rng, held = np.random.default_rng(0), {0.5: [], 0.8: [], 0.95: []}
    for _ in range(300):
        quantiles = error_quantiles(rng.lognormal(0, 1, 60))
        fresh = rng.lognormal(0, 1, 200)
        for coverage, shares in held.items():
            shares.append((fresh <= quantiles[round(100 * coverage) - PERCENT[0]]).mean())
    for coverage, shares in held.items():
        assert np.mean(shares) == pytest.approx(coverage, abs=0.025)
        assert np.mean(shares) > coverage - 0.01


def test_quantiles_are_of_errors_that_were_and_never_fall():
    apart = np.array([3.0, 1.0, 2.0])
    found = error_quantiles(apart)
    assert len(found) == len(PERCENT)
    assert set(found) <= set(apart)
    assert (np.diff(found) >= 0).all()
    assert found[-1] == 3


def test_every_item_gets_each_value_with_its_unit_and_interval():
    spec = RegressSpec(
        names=("boiling", "density"), units=("K", "g/l"), head="head", errors=((5.0,) * 30 + (9.0,) * 20, (1.0,) * 50)
    )
    task = Regress(spec, Path())
    found = task.run(
        lambda name, inputs: {"out_regress": inputs["embedding"]},
        Prepared([], {"out_embedding": np.array([[300.0, 2.0], [400.0, 4.0]])}),
        RegressOptions(coverage=0.9),
    )
    first, second = found[0].values
    assert (first.name, first.unit, first.value, first.low, first.high) == ("boiling", "K", 300, 291, 309)
    assert (second.low, second.high, found[0].coverage) == (1, 3, 0.9)
    figures = task.measure(found, [{"boiling": 303.0, "density": 5.0}, {"boiling": 412.0}])
    assert figures["rmse_boiling"] == pytest.approx(np.sqrt((9 + 144) / 2))
    assert figures["mae_density"] == 3
    assert (figures["coverage_boiling"], figures["coverage_density"]) == (0.5, 0)
    assert figures["r2_boiling"] == pytest.approx(1 - ((9 + 144) / 2) / 54.5**2)
    assert next(iter(figures)) == "rmse"
