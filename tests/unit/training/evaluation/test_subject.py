"""A recipe with captions, from its tokenizer to what is painted, on a manifest of one's own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enfold import settings
from enfold.errors import WrongUse
from training import recipe
from training.evaluation import Subject
from training.recipe import Evaluate
from training.run import Run

SMALL = [
    "preprocess.size=16",
    "tokenizer.vocabulary=300",
    "encoder.config={layers=[1, 1, 1, 1], width=4, stem='small', dim=8}",
    *(
        f"stage.{stage}.config.{key}"
        for stage in ("match", "paint")
        for key in ("classes=2", "text_encoder={name='gru', config={hidden=4}}")
    ),
    *(f"stage.{stage}.train.{key}" for stage in ("match", "judge", "paint") for key in ("steps=2", "batch=8")),
]


def run_of(folder: Path) -> Run:
    """Sixty pictures of three colours, each with two captions."""
    rng, lines = np.random.default_rng(0), []
    folder.mkdir()
    for number in range(60):
        colour = ("red", "green", "blue")[number % 3]
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / f"{number:02}.png")
        lines.append(f'{number:02}.png,{colour},"{colour} thing {number // 6}\n{colour}"')
    (folder / "manifest.csv").write_text("\n".join(["path,label,caption", *lines]))
    overrides = [*SMALL, f"data.source={folder / 'manifest.csv'}"]
    facts = recipe.load("scl_t2i", smoke=True, overrides=overrides)
    return Run(facts.model_copy(update={"stage": facts.stage[:-1]}), settings.load())  # too few items for the gate


def test_each_phase_is_judged_by_what_it_made(tmp_path: Path):
    run = run_of(tmp_path / "things")
    figures = {name: record["figures"] for name, record in run.carry_out()["stages"].items()}
    assert {"knn_accuracy", "text_knn_accuracy", "caption_retrieval_r1"} <= figures["judge_match"].keys()
    painted = figures["judge_paint"]
    assert painted["generation_fid_small"] > 0
    assert painted["generation_nearest_training_image"] > 0
    assert 0 <= painted["generation_r_precision"] <= 1
    assert not any("skipped" in found for found in figures.values())
    stage = next(one for one in run.recipe.stage if isinstance(one, Evaluate) and one.name == "judge_paint")
    subject = Subject(None, run, run.dataset, stage)
    assert not subject.method.training
    assert {text.split()[1] for text in subject.captions("test")} == {"thing"}  # the first line of two
    assert subject.text_features(["red thing", "blue"]).shape == (2, 8)


def test_numbers_of_words_are_no_baseline_and_shades_are(tmp_path: Path):
    run = run_of(tmp_path / "things")
    subject = Subject(None, run, run.dataset)
    assert subject.has_raw_values
    assert subject.prepared("test") is subject.prepared("test")
    subject._inputs["test"] = {"input_ids": np.ones((2, 5), np.int64)}
    assert not subject.has_raw_values


def test_a_column_that_the_recipe_does_not_name_is_told(tmp_path: Path):
    run = run_of(tmp_path / "things")
    with pytest.raises(WrongUse, match=r"names no column \[sides.truth\]"):
        Subject(None, run, run.dataset).side("test", "truth")


def test_a_recipe_without_texts_says_so(tmp_path: Path):
    run = run_of(tmp_path / "things")
    bare = Run(run.recipe.model_copy(update={"sides": {}, "tokenizer": None}), settings.load())
    with pytest.raises(WrongUse, match=r"names no text column beside its items: add a \[sides\] table"):
        Subject(None, bare, bare.dataset).captions("test")
