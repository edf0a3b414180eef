"""The loop around a forecaster's graph, on one that is known: it goes on as the window went one season ago."""

import numpy as np
import pytest

from enfold.errors import BundleInvalid, TooLarge, WrongUse
from enfold.modalities.series import Series, SeriesPreprocess, Signal
from enfold.tasks import Prepared
from enfold.tasks.forecast import LONGEST, Forecast, ForecastAnswer, ForecastOptions, ForecastSpec, rolled
from tests.examples import npy

SEASON, STEPS = 12, 4
MODALITY = Series(SeriesPreprocess(window=24))
WAVE = np.sin(2 * np.pi * np.arange(61) / SEASON)[:, None] * (1, 30) + (5, 100)
HOURS = np.datetime64("2020-01-01T00:00", "us") + np.arange(61) * np.timedelta64(1, "h")


def graphs(graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert graph == "forecast"
    series = inputs["series"]
    return {"out_forecast": series[..., -SEASON : -SEASON + STEPS].copy()}


@pytest.fixture
def task(tmp_path):
    (tmp_path / "resources").mkdir()
    errors = np.random.default_rng(0).normal(0, 0.1, (200, STEPS)).astype(np.float32)
    (tmp_path / "resources/residuals.npy").write_bytes(npy(errors))
    return Forecast(ForecastSpec(graph="forecast", residuals="resources/residuals.npy"), tmp_path)


def asked(task: Forecast, signal: Signal | None = None, **options) -> ForecastAnswer:
    value = MODALITY.read(signal or Signal(WAVE, HOURS, ("warm", "load")))
    [found] = task.run(graphs, Prepared([MODALITY.prepare(value)], {}), task.Options(**options))
    return found


def test_it_goes_on_in_the_items_unit_with_its_names_and_times(task):
    found = asked(task, horizon=30, quantiles=[])
    assert [course.channel for course in found.courses] == ["warm", "load"]
    for course, (spread, mean) in zip(found.courses, ((1, 5), (30, 100)), strict=True):
        want = np.sin(2 * np.pi * np.arange(61, 91) / SEASON) * spread + mean
        np.testing.assert_allclose(course.forecast, want, atol=1e-4 * spread)
        assert course.quantiles == {}
    assert (found.times[0], len(found.times)) == ("2020-01-03T13:00:00", 30)
    assert asked(task, Signal(WAVE)).times is None


@pytest.mark.parametrize("horizon", [1, 4, 5, 17, 100])
def test_a_shorter_forecast_is_the_beginning_of_a_longer_one(task, horizon):
    short, long = asked(task, horizon=horizon), asked(task, horizon=120)
    for one, other in zip(short.courses, long.courses, strict=True):
        assert one.forecast == other.forecast[:horizon]
        for share, values in one.quantiles.items():
            assert values == other.quantiles[share][:horizon]
    assert short.times == long.times[:horizon]


def test_what_is_told_is_looked_at_again_as_measured():
    seen = []

    def listening(graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(inputs)
        return graphs(graph, inputs)

    [sample] = MODALITY.prepare(MODALITY.read(WAVE[:10]))
    rolled(listening, "forecast", {name: values[None] for name, values in sample.arrays.items()}, 9)
    assert [int(inputs["measured"].sum()) for inputs in seen] == [20, 28, 36]
    np.testing.assert_array_equal(seen[1]["series"][..., :-STEPS], seen[0]["series"][..., STEPS:])


def test_ranges_hold_what_they_say_and_widen_where_errors_add_up(task):
    found = asked(task, horizon=4 * SEASON, quantiles=[0.05, 0.5, 0.95]).courses[0]
    low, middle, high = (np.array(found.quantiles[share]) for share in ("0.05", "0.5", "0.95"))
    assert (low < middle).all()
    assert (middle < high).all()
    np.testing.assert_allclose(middle, found.forecast, atol=0.15)
    spread = WAVE[:, 0].std()
    assert (high - low)[:SEASON].mean() == pytest.approx(2 * 1.645 * 0.1 * spread, rel=0.15)
    assert (high - low)[3 * SEASON :].mean() > 1.5 * (high - low)[:SEASON].mean()  # each season errs anew


def test_a_still_series_stays_where_it_is(task):
    found = asked(task, Signal(np.full((30, 1), 7.0)), horizon=3)
    assert found.courses[0].forecast == [7, 7, 7]
    assert found.courses[0].quantiles["0.9"] == [7, 7, 7]


def test_a_graph_that_tells_no_step_is_refused_and_not_asked_for_ever():
    window = {"series": np.zeros((1, 1, 4), np.float32), "measured": np.ones((1, 1, 4), np.float32)}
    with pytest.raises(BundleInvalid, match="tells no step"):
        rolled(lambda *_: {"out_forecast": np.zeros((1, 1, 0), np.float32)}, "complete_forecast", window, 4)


def test_a_course_that_runs_away_stays_a_number():
    def wild(graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"out_forecast": inputs["series"][..., -STEPS:] * 1e30 + 1}

    window = {"series": np.ones((1, 1, 24), np.float32), "measured": np.ones((1, 1, 24), np.float32)}
    assert np.isfinite(rolled(wild, "forecast", window, 60)).all()


@pytest.mark.parametrize("horizon", [0, -1, 10_000_000])
def test_a_horizon_is_one_step_or_more_and_not_endless(horizon):
    with pytest.raises(ValueError, match=f"(greater than or equal to 1|less than or equal to {LONGEST})"):
        ForecastOptions(horizon=horizon)


def test_what_cannot_be_asked_is_said(task, tmp_path):
    with pytest.raises(WrongUse, match=r"'quantiles' has 1\.2: each is a share from 0\.01 to 0\.99"):
        asked(task, quantiles=[0.5, 1.2])
    with pytest.raises(TooLarge, match="9,000 steps of 3 channels are 27,000 values; at most 20,000"):
        asked(task, Signal(np.tile(WAVE[:, :1], (1, 3))), horizon=9000)
    bare = Forecast(ForecastSpec(graph="forecast"), tmp_path)
    assert asked(bare, quantiles=[]).courses
    with pytest.raises(WrongUse, match=r"set option 'quantiles' to \[\]"):
        asked(bare)


def test_figures_count_what_was_measured(task):
    answer = asked(task, horizon=6, quantiles=[0.1, 0.9])
    truth = np.stack([course.forecast for course in answer.courses], 1) + np.array((2, -1))
    truth[3:, 1] = np.nan
    found = task.measure([answer], [Signal(truth)])
    assert found["mse"] == pytest.approx((6 * 4 + 3 * 1) / 9)
    assert found["mae"] == pytest.approx((6 * 2 + 3 * 1) / 9)
    assert found["coverage"] == pytest.approx(3 / 9)  # 1 is little for a load that moves by 30
