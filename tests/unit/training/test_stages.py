"""Stages on a user's own folder, labelled or not."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enfold import settings
from training import recipe
from training.evaluation import Subject
from training.run import Run

SMALL = [
    "encoder.config={patch=8, dim=16, depth=2, heads=2}",
    "stage.pretrain.config.blocks=[1, 2]",
    "stage.pretrain.train.batch=4",
]


def pictures(folder: Path, labels: list[str | None], count: int = 60) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / (labels[number % len(labels)] or "")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(place / f"{number:02}.png")
    return folder


def run_of(folder: Path, *more: str) -> Run:
    resolved = recipe.load("gmml", smoke=True, overrides=[*SMALL, f"data.source={folder}", *more])
    return Run(resolved.model_copy(update={"stage": resolved.stage[:-1]}), settings.load())


def test_a_folder_without_labels_trains_and_says_what_was_skipped(tmp_path: Path):
    stages = run_of(pictures(tmp_path / "flat", [None])).carry_out()["stages"]
    assert {"rankme", "feature_std", "collapsed"} <= stages["pretrain"]["figures"].keys()
    assert "knn_accuracy" not in stages["pretrain"]["figures"]
    assert stages["evaluate"]["figures"]["spread_rankme"] > 1
    assert "needs labels" in stages["evaluate"]["figures"]["skipped"]
    assert "needs labels" in stages["classify"]["figures"]["skipped"]


def test_items_without_a_label_are_trained_on_but_not_judged(tmp_path: Path):
    run = run_of(pictures(tmp_path / "some", ["one", "two", None]))
    subject = Subject(None, run, run.dataset)
    assert subject.has_labels
    assert len(subject.labels("train")) < len(run.dataset.split("train"))
    assert subject.labels("train").min() == 0
    assert run.carry_out()["stages"]["classify"]["figures"]["accuracy"] >= 0


def test_a_finished_run_is_not_carried_out_again_and_tells_its_story(tmp_path: Path):
    folder = pictures(tmp_path / "two", ["one", "two"])
    first = run_of(folder)
    first.carry_out()
    seen: list[float] = []
    run_of(folder).carry_out(lambda name, record: seen.append(record["seconds"]))
    story = json.loads((first.path / "run.json").read_bytes())
    assert story["state"] == "done"
    assert story["data"]["items"] == 60
    assert [stage["seconds"] for stage in story["stages"].values()] == seen


def test_a_changed_stage_is_another_run_and_reuses_nothing(tmp_path: Path):
    folder = pictures(tmp_path / "two", ["one", "two"])
    assert run_of(folder).id != run_of(folder, "stage.pretrain.train.steps=5").id
    assert run_of(folder).id == run_of(folder).id


def test_other_items_than_the_recipes_are_refused(tmp_path: Path):
    (tmp_path / "notes").mkdir()
    for number in range(3):
        (tmp_path / "notes" / f"{number}.txt").write_text(f"text {number}")
    with pytest.raises(Exception, match=r"notes holds no image files; accepted suffixes"):
        run_of(tmp_path / "notes")
