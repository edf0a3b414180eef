"""Recipes that mix modalities: one training on both, each judged by its own, and one bundle with a door for each."""

from pathlib import Path

import numpy as np
import pytest

import enfold
from enfold import settings
from enfold.errors import WrongUse
from tests.unit.training.test_stages import pictures
from training import recipe
from training.artefacts import Items
from training.run import Run

LABELS = ("one", "three", "two")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Pictures and volumes with the same labels, of which the volumes are brighter the later they come."""
    rng = np.random.default_rng(0)
    for number in range(60):
        place = tmp_path / "volumes" / LABELS[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{number:02}.npy", rng.normal(50 + 20 * (number % 3), 5, (16, 16, 16)).astype(np.float32))
    return tmp_path / "volumes", pictures(tmp_path / "pictures", list(LABELS))


def resolved(volumes: Path, images: Path, *more: str) -> recipe.Recipe:
    small = [
        f"data.source={volumes}",
        f"mixed.image.data.source={images}",
        f"stage.judge_images.data.source={images}",
        f"stage.beside_images.data.source={images}",
        "preprocess.patch=16",
        "mixed.image.preprocess.size=24",
        "encoder.config={image_patch=8, volume_patch=8, dim=16, depth=1, heads=2}",
        "stage.pretrain.config={width=8, depth=1, heads=2}",
        "stage.pretrain.train.batch=8",
        "stage.export.bundle=both",
    ]
    return recipe.load("uni4eye", smoke=True, overrides=[*small, *more])


def test_a_training_takes_items_of_both_and_each_is_judged_by_its_own(folders):
    run = Run(resolved(*folders), settings.load())
    both = Items(run, run.dataset.split("train"), *[data.split("train") for data in run.mixed_data()])
    kinds = [item.modality for item in both]
    assert kinds == both.modalities
    assert kinds.count("volume") == len(run.dataset.split("train"))
    assert [item.index for item in both] == list(range(len(both)))
    assert both[len(both) - 1].value.shape == (24, 24, 3)
    story = run.carry_out()["stages"]
    assert {"volume_shade", "image_edge"} <= set((run.folder("pretrain") / "curves.jsonl").read_text().split('"'))
    assert story["judge_images"]["figures"]["knn_test_items"] == len(run.mixed_data()[0].split("test"))
    across = story["beside_volumes"]["figures"]
    assert 0 <= across["across_image_to_volume_accuracy"] <= 1
    assert across["across_volume_to_image_chance_r10"] == min(1, 10 / len(run.mixed_data()[0].split("test")))


def test_the_bundle_has_a_door_for_each_into_one_space(folders):
    run = Run(resolved(*folders), settings.load())
    run.carry_out()
    model = enfold.open("both")
    entries = model.bundle.manifest.entries
    assert set(entries) == {"image", "volume"}
    assert len({entry.space for entry in entries.values()}) == 1
    assert model.bundle.manifest.licence == "trained on volumes (not stated) and pictures (not stated)"
    volumes, images = (
        sorted(folder.rglob(f"*{end}"))[:3] for folder, end in zip(folders, (".npy", ".png"), strict=True)
    )
    assert model.embed(volumes, "volume").vectors.shape == model.embed(images, "image").vectors.shape == (3, 16)
    assert len(model.predict(volumes, "classify", entry="volume")) == 3
    assert model.check() > 0.99999
    weights = model.bundle.path / "graphs" / "weights.data"
    assert weights.stat().st_size > 4 * 12 * 16**2  # the block's matrices, once for both graphs


def test_other_data_of_what_is_mixed_in_is_another_training(folders, tmp_path):
    first = Run(resolved(*folders), settings.load())
    fewer = Run(resolved(*folders, "mixed.image.data.train_items=10"), settings.load())
    assert first.id != fewer.id
    stage = first.recipe.stage[0]
    assert first._fingerprint(stage, {}) != fewer._fingerprint(stage, {})


def test_a_method_names_what_it_mixes(tmp_path: Path):
    page = (recipe.RECIPES / "uni4eye.toml").read_text()
    for start, sentence in (
        (page.replace("[mixed.image]", "[mixed.text]"), "trains a tokenizer"),
        (page.replace("[mixed.image]\n", "[tokenizer]\nvocabulary = 300\n[mixed.text]\n"), "mixed.text"),
        (page[: page.index("[mixed")] + page[page.index("[encoder]") :], "'uni4eye' learns from image and volume"),
        (
            page.replace('_slices" }', '_slices", size = 3 }'),
            "unknown key .*Known: exclude, held_out_items, only",
        ),
    ):
        (tmp_path / "mine.toml").write_text(start)
        with pytest.raises(WrongUse, match=sentence):
            recipe.load(str(tmp_path / "mine.toml"))
    gmml = (recipe.RECIPES / "gmml.toml").read_text()
    (tmp_path / "gmml.toml").write_text(
        gmml.replace(
            "[encoder]",
            '[mixed.volume]\ndata = { source = "x" }\npreprocess = { spacing = 1.0, patch = 8 }\n\n[encoder]',
            1,
        )
    )
    with pytest.raises(WrongUse, match=r"method 'gmml' learns from image alone: \[mixed.\*\] names volume"):
        recipe.load(str(tmp_path / "gmml.toml"))
