"""Counts that are to be expected, and intervals that hold as often as they say."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from enfold.tasks import Prepared
from enfold.tasks.estimate import Estimate, EstimateOptions, EstimateSpec, dispersions, interval


@pytest.mark.parametrize("rate", [0.001, 0.7, 12.0, 2980.0])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.99])
def test_without_dispersion_an_interval_is_poissons(rate, coverage):
    assert interval(rate, 0.0, coverage) == tuple(int(one) for one in stats.poisson.interval(coverage, rate))


@pytest.mark.parametrize(("rate", "dispersion"), [(0.3, 2.0), (5.0, 0.4), (900.0, 0.1)])
def test_with_dispersion_it_is_the_negative_binomials_and_wider(rate, dispersion):
    size = 1 / dispersion
    wanted = stats.nbinom.interval(0.8, size, size / (size + rate))
    assert interval(rate, dispersion, 0.8) == tuple(int(one) for one in wanted)
    assert np.diff(interval(rate, dispersion, 0.8)) >= np.diff(interval(rate, 0.0, 0.8))


def test_dispersion_is_found_again():
    rng = np.random.default_rng(0)
    rates = rng.uniform(1, 9, (20_000, 2))
    counts = np.stack([rng.poisson(rates[:, 0]), rng.poisson(rates[:, 1] * rng.gamma(2, 0.5, 20_000))], 1)
    np.testing.assert_allclose(dispersions(rates, counts), [0, 0.5], atol=0.04)


def test_every_item_gets_each_count_with_its_interval():
    spec = EstimateSpec(names=("visits", "falls"), head="head", days=365, dispersions=(0.0, 1.0))
    task, embedding = Estimate(spec, Path()), np.log([[4.0, 4.0], [0.5, 0.5]])
    found = task.run(
        lambda name, inputs: {"out_estimate": inputs["embedding"]},
        Prepared([], {"out_embedding": embedding}),
        EstimateOptions(coverage=0.9),
    )
    assert [one.name for one in found[0].estimates] == ["visits", "falls"]
    assert found[0].estimates[0].expected == pytest.approx(4)
    assert found[0].estimates[1].high > found[0].estimates[0].high
    assert (found[0].coverage, found[0].days) == (0.9, 365)
    figures = task.measure(found, [{"visits": 5, "falls": 900}, {"visits": 0, "falls": 0}])
    assert figures["mae_visits"] == pytest.approx((1 + 0.5) / 2)
    assert (figures["coverage_visits"], figures["coverage_falls"]) == (1, 0.5)
