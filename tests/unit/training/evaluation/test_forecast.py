"""Judging forecasts: windows only of what is to be forecast; baselines that know what they can and no more."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from enfold.errors import WrongUse
from enfold.modalities.series import Series, SeriesPreprocess, Signal
from training.evaluation import dlinear, forecast, seasonal_naive
from training.evaluation.forecast import HORIZONS, errors, windows

L = 96
STEPS = {"train": 900, "val": 1000, "test": 1400}


class Courses:
    """One daily wave and one that is nothing but chance, cut in time."""

    def __init__(self, split: str = ""):
        self.name, rng = split, np.random.default_rng(0)
        wave = np.sin(2 * np.pi * np.arange(1400) / 24) + np.arange(1400) * 1e-3
        self._all = {"wave": wave, "noise": rng.normal(size=1400)}
        self.records = [
            SimpleNamespace(label=label, payload={"fitted": 900, "starts": {"val": 900, "test": 1000}.get(split, 0)})
            for label in self._all
        ]

    def split(self, name: str) -> "Courses":
        return Courses(name)

    def read(self, i: int, modality: Any) -> Signal:
        return Signal(list(self._all.values())[i][: STEPS[self.name], None])


SUBJECT: Any = SimpleNamespace(dataset=Courses(), modality=Series(SeriesPreprocess(window=L)))


def test_windows_end_where_forecasts_begin_and_are_in_units_of_the_training_part():
    found = windows(SUBJECT, "test")
    assert set(found) == {"wave", "noise"}
    one = found["wave"]
    assert len(one) == (400 - HORIZONS[-1]) // forecast.STRIDE + 1
    values = Courses("test").read(0, None).values[:, 0]
    course = (values - values[:900].mean()) / values[:900].std()
    np.testing.assert_allclose(one.after[0], course[1000 : 1000 + HORIZONS[-1]])
    np.testing.assert_allclose(one.before["series"][0, 0], course[1000 - L : 1000], rtol=1e-5)
    near_end = windows(SUBJECT, "val", least=24)["wave"]
    assert np.isnan(near_end.after[:, 100:]).all()  # the series ends there


def test_figures_are_means_over_data_sets_and_horizons():
    found = windows(SUBJECT, "test")
    told = {label: one.after + (1 if label == "wave" else 3) for label, one in found.items()}
    figures = errors(found, told)
    assert figures["mse"] == pytest.approx(5)
    assert figures["mae"] == pytest.approx(2)
    assert figures["mse_noise"] == pytest.approx(9)
    assert figures["mse_h96"] == pytest.approx(5)


def test_the_dull_baseline_finds_the_day():
    found = windows(SUBJECT, "val", least=24)
    assert seasonal_naive.season(found["wave"]) == 24
    figures = seasonal_naive.evaluate(SUBJECT)
    assert figures["mse_wave"] < 0.2
    assert figures["mse_noise"] == pytest.approx(2, rel=0.4)
    one = windows(SUBJECT, "test")["wave"]
    one.before["measured"][:, :, -5] = 0
    level = (one.before["series"][0, 0].sum()) / one.before["measured"][0, 0].sum()
    assert seasonal_naive.repeated(one, 24)[0, 19] == pytest.approx(level)


def test_a_linear_map_of_a_tenth_learns_a_wave_and_of_noise_the_mean():
    figures = dlinear.evaluate(SUBJECT)
    assert figures["mse_wave"] < 0.01
    assert figures["mse_noise"] == pytest.approx(1, rel=0.4)
    parts = dlinear.decomposed(windows(SUBJECT, "test")["wave"])
    series = windows(SUBJECT, "test")["wave"].before["series"][:, 0]
    np.testing.assert_allclose(parts[:, :L] + parts[:, L : 2 * L], series, atol=1e-6)


def test_each_data_set_is_forecast_by_the_last_model_that_learnt_from_it(tmp_path, monkeypatch):
    def stage(name: str, *labels: str) -> Any:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "head.json").touch()
        return SimpleNamespace(
            name=name, needs=("all", "a", "b"), data=SimpleNamespace(only={"label": labels} if labels else {})
        )

    opened = []
    head = SimpleNamespace(graphs=lambda encoder, inputs: {})
    monkeypatch.setattr(forecast, "load_encoder", lambda folder: opened.append(folder.name))
    monkeypatch.setattr(forecast, "load_head", lambda folder, encoder: SimpleNamespace(head=head, spec={"graph": "g"}))
    run = SimpleNamespace(folder=tmp_path.joinpath)
    run.recipe = SimpleNamespace(stage=[stage("all"), stage("a", "wave"), stage("b", "noise")])
    judge = SimpleNamespace(name="judge", needs=("all", "a", "b"))
    subject: Any = SimpleNamespace(run=run, stage=judge, prepared=lambda split, limit: {})
    for label in ("wave", "noise", "unseen"):
        forecast.forecaster(subject, label)
    assert opened == ["a", "b", "all"]
    judge.needs = ("a",)
    forecast.forecaster(subject, "unseen")
    assert opened[-1] == "a"  # without one that learnt from it
    judge.needs = ()
    with pytest.raises(WrongUse, match="'judge' judges forecasts: let it need a stage"):
        forecast.forecaster(subject, "wave")


def test_without_a_series_that_is_long_enough_that_is_said():
    with pytest.raises(WrongUse, match="no series of the test split has 2000 steps after a window of 96"):
        windows(SUBJECT, "test", least=2000)
