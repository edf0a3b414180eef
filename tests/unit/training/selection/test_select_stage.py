"""The select verb: a pool in, ids out, and a pretraining that takes them in."""

import json
from pathlib import Path

import pytest

from enfold import settings
from enfold.errors import UnknownName, WrongUse
from tests.unit.training.test_stages import pictures
from training import recipe
from training.artefacts import Items, training_items
from training.run import Run

SMALL = ["stage.retrieve.train.batch=8", "stage.pretrain.train.batch=8", "stage.select.config.centroids=4"]


def run_of(tmp_path: Path, *more: str) -> Run:
    """Retrieval, selection and pretraining of the recipe, on folders of random pictures."""
    target, pool = pictures(tmp_path / "target", ["one", "two"], 80), pictures(tmp_path / "pool", [None], 50)
    overrides = [*SMALL, f"data.source={target}", f"stage.select.pool=['{pool}']", *more]
    whole = recipe.load("simcore", smoke=True, overrides=overrides)
    return Run(whole.model_copy(update={"stage": whole.stage[:3]}), settings.load())


def test_a_pretraining_sees_the_training_split_and_what_was_selected(tmp_path: Path):
    run = run_of(tmp_path, "stage.select.budget=12")
    figures = run.carry_out()["stages"]["select"]["figures"]
    chosen = json.loads((run.folder("select") / "selected.json").read_bytes())
    items = training_items(run.recipe.stage[2], run)
    own = run.dataset.split("train")
    assert (figures["selected"], len(chosen), len(items)) == (12, 12, len(own) + 12)
    assert {record.id for record in items.records} == {record.id for record in own.records} | set(chosen)
    assert (items.labels()[len(own) :] == -1).all()
    assert Items(run, items)[len(own)].value.shape == (24, 24, 3)
    assert len(training_items(run.recipe.stage[0], run)) == len(own)


def test_only_training_splits_are_looked_at(tmp_path: Path):
    run = run_of(tmp_path, "stage.select.config.patience=1000")
    run.carry_out()
    assert run.carry_out()["stages"]["select"]["figures"]["of"] < 50
    trained_on = {record.id for record in training_items(run.recipe.stage[2], run).records}
    assert not trained_on & {record.id for record in run.dataset.split("test").records}


def test_another_pool_is_another_fingerprint(tmp_path: Path):
    run = run_of(tmp_path)
    before = run._fingerprint(run.recipe.stage[1], {"retrieve": "x"})
    (next((tmp_path / "pool").glob("*.png"))).unlink()
    assert run._fingerprint(run.recipe.stage[1], {"retrieve": "x"}) != before


def test_a_pool_of_other_items_is_refused(tmp_path: Path):
    (tmp_path / "notes").mkdir()
    for number in range(4):
        (tmp_path / "notes" / f"{number}.txt").write_text(f"text {number}")
    run = run_of(tmp_path, f"stage.select.pool=['{tmp_path / 'notes'}']")
    with pytest.raises(WrongUse, match=r"notes holds no image files; accepted suffixes"):
        run.carry_out()


def test_a_pool_that_is_not_there_is_told_before_anything_is_done(tmp_path: Path):
    run = run_of(tmp_path, "stage.select.pool=['nowhere']")
    with pytest.raises(UnknownName, match=r"unknown data set 'nowhere'"):
        run.carry_out()
    assert not run.path.exists()


def test_a_key_that_a_selection_does_not_know_is_named(tmp_path: Path):
    with pytest.raises(WrongUse, match=r"'simcore': unknown key 'centroid'. Known: centroids, drop, most, pat"):
        run_of(tmp_path, "stage.select.config.centroid=3").carry_out()
