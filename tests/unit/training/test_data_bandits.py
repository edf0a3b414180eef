"""Bandits and dark rooms: made here, the same everywhere; labels are the best actions."""

import numpy as np
import pytest

from enfold import modalities
from training.data.arms import Bandits
from training.data.builders import bandits, darkroom
from training.data.fetch import fetch
from training.data.sources import open_dataset


def test_tasks_are_items_labelled_by_their_best_arm(tmp_path, monkeypatch):
    monkeypatch.setattr(bandits, "TASKS", 60)
    for name in ("one", "two"):
        (tmp_path / name / "bandits").mkdir(parents=True)
        bandits.build({}, tmp_path / name / "bandits")
    one, two = (open_dataset("bandits", data=tmp_path / name) for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint
    assert one.classes == tuple(f"arm {arm}" for arm in range(5))
    reader = modalities.get("trajectory")(modalities.get("trajectory").Preprocess())
    steps = one.read(0, reader)
    assert len(steps.actions) == bandits.STEPS
    assert reader.prepare(steps)[0].arrays["steps"].shape == (101, 8)


def test_who_played_before_kept_to_an_arm_for_as_much_as_asked():
    family, rng = Bandits(), np.random.default_rng(0)
    for least in (0.5, 1.0):
        played = [family.context(family.means(rng)[0], rng, 400, least) for _ in range(20)]
        most = [np.bincount(one.actions).max() / 400 for one in played]
        assert min(most) > least - 0.1


def test_rewards_are_about_the_means():
    rng, means = np.random.default_rng(0), np.tile([0.1, 0.9], (20_000, 1))
    for family in (Bandits(arms=2), Bandits(arms=2, pays="bernoulli")):
        found = family.rewards(means, rng)
        assert found.mean(0) == pytest.approx([0.1, 0.9], abs=0.02)
    assert set(np.unique(found)) == {0, 1}


def test_what_is_made_here_needs_no_download_and_no_folder_before(tmp_path, monkeypatch):
    monkeypatch.setattr(bandits, "TASKS", 60)
    assert (fetch("bandits", data=tmp_path / "new" / "data") / "manifest.parquet").is_file()


def test_rooms_of_the_test_split_have_goals_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(darkroom, "ROOMS", 100)
    (tmp_path / "darkroom").mkdir()
    darkroom.build({}, tmp_path / "darkroom")
    found = open_dataset("darkroom", data=tmp_path)
    assert set(found.classes) <= {"left", "right", "up", "down", "stay"}
    goals = {split: set() for split in ("train", "val", "test")}
    reader = modalities.get("trajectory")(modalities.get("trajectory").Preprocess(state=2, horizon=50))
    for split, seen in goals.items():
        for row in range(len(own := found.split(split))):
            steps = own.read(row, reader)
            seen |= {tuple(place) for place in steps.next_states[steps.rewards > 0]}
    assert goals["test"]
    assert not goals["test"] & (goals["train"] | goals["val"])
