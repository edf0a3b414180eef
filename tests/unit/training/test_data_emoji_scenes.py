"""Scenes of emoji: what a caption says is so, what a mask shows lies on top, and no drawing is in two splits."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enfold import settings
from training.data import builders
from training.data.builders import emoji_scenes
from training.data.builders.emoji_scenes import CLASSES, SIDE, Glyph, Placed
from training.data.sources import open_dataset

FETCHED = settings.load().data  # read before each test gets a home of its own
SVG = (
    '<svg viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg"><circle cx="36" cy="36" r="{r}" fill="{fill}"/></svg>'
)
KINDS = ("food-drink", "objects")


def listed(number: int, **facts: str) -> dict[str, str]:
    return {
        "hexcode": f"1F{number:03X}",
        "group": KINDS[number % 2],
        "annotation": f"thing {number}",
        "tags": f"one {number}, two {number}",
        "openmoji_tags": "",
        "skintone": "",
    } | facts


def glyph(name: str, fill: str = "#d22f27") -> Glyph:
    return emoji_scenes.glyph(listed(0, annotation=name), SVG.format(r=30, fill=fill))


def at(one: Glyph, x: int, y: int, side: int = 10) -> Placed:
    shape = np.zeros((SIDE, SIDE), bool)
    shape[y : y + side, x : x + side] = True
    return Placed(one, shape)


@pytest.mark.parametrize(
    ("fill", "colour"),
    [("#d22f27", "red"), ("#fcea2b", "yellow"), ("#5c9e31", "green"), ("#61b2e4", "blue"), ("#000000", "black")],
)
def test_a_colour_is_what_most_of_a_drawing_has(fill: str, colour: str):
    assert glyph("thing", fill).colour == colour


def test_outlines_are_no_colour():
    pixels = np.zeros((10, 10, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[:2] = (234, 90, 71, 255)
    assert emoji_scenes.colour_of(pixels) == "red"


def test_a_caption_names_all_objects_with_colours_and_relations():
    cat, key, tree = glyph("cat"), glyph("key", "#fcea2b"), glyph("green tree", "#5c9e31")
    side_by_side = [at(key, 40, 0), at(cat, 2, 3), at(tree, 44, 30)]  # from the rearmost on
    assert emoji_scenes.quality(side_by_side) == "red cat left of yellow key above green tree"
    assert emoji_scenes.quality([at(cat, 0, 40), at(key, 9, 10)]) == "red cat below yellow key"
    assert emoji_scenes.quality([at(cat, 0, 0), at(key, 5, 5)]) == "red cat behind yellow key"
    assert emoji_scenes.quality([at(key, 5, 5), at(cat, 0, 0)]) == "red cat in front of yellow key"


def test_a_mask_shows_the_class_on_top():
    below, above = at(glyph("cat"), 0, 0, 20), at(glyph("key"), 10, 10, 20)
    above = Placed(Glyph("key", CLASSES.index("objects"), ("key",), "red", above.glyph.image), above.shape)
    mask = emoji_scenes.mask_of([below, above])
    assert mask.dtype == np.uint8
    assert [CLASSES[mask[place]] for place in ((5, 5), (15, 15), (25, 25), (60, 60))] == [
        "food-drink", "objects", "objects", "background",
    ]  # fmt: skip


def test_every_drawing_of_a_scene_is_seen():
    drawings = [glyph(f"thing {n}") for n in range(4)]
    for seed in range(20):
        scene, placed = emoji_scenes.compose(drawings, np.random.default_rng(seed))
        assert scene.size == (SIDE, SIDE)
        top = emoji_scenes.on_top(placed)
        for number, one in enumerate(placed, 1):
            assert (top == number).sum() >= emoji_scenes.LEAST_SEEN * one.shape.sum()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ninety drawings of one shape each, a skin tone and a brand, in few scenes."""
    monkeypatch.setattr(emoji_scenes, "SCENES", {"train": 60, "val": 8, "test": 12})
    rng = np.random.default_rng(0)
    entries = [listed(n) for n in range(90)]
    entries += [listed(90, skintone="1F3FB"), listed(91, group="extras-openmoji")]
    drawings = tmp_path / "openmoji/package/color/svg"
    drawings.mkdir(parents=True)
    for one in entries:
        colour = "#" + "".join(f"{shade:02x}" for shade in rng.integers(0, 256, 3))
        shapes = "".join(
            f'<rect x="{x}" y="{y}" width="18" height="18" fill="{colour}"/>'
            for x in range(0, 72, 18) for y in range(0, 72, 18) if rng.random() < 0.5
        )  # fmt: skip
        svg = f'<svg viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg">{shapes}</svg>'
        (drawings / f"{one['hexcode']}.svg").write_text(svg)
    (tmp_path / "openmoji/package/data").mkdir()
    (tmp_path / "openmoji/package/data/openmoji.json").write_text(json.dumps(entries))
    target = tmp_path / "data/emoji_scenes"
    target.mkdir(parents=True)
    emoji_scenes.build({"openmoji": tmp_path / "openmoji"}, target)
    return tmp_path / "data"


def test_drawings_have_one_split_and_scenes_what_they_say(built: Path):
    data = open_dataset("emoji_scenes", data=built)
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [60, 8, 12]
    named: dict[str, set[str]] = {}
    for record in data.records:
        words = str(record.payload["quality"]).split()
        things = {words[i + 1] for i, word in enumerate(words) if word == "thing"}
        assert 2 <= len(things) <= 4
        assert str(record.payload["tag"]).split()[1] in things
        named[record.split] = named.get(record.split, set()) | things
        mask = np.asarray(Image.open(data.folder / str(record.payload["mask"])))
        assert mask.shape == (SIDE, SIDE)
        shown = np.bincount(mask.ravel(), minlength=len(CLASSES))[1:]
        assert record.label == CLASSES[1 + int(shown.argmax())]
    assert not named["train"] & named["test"]
    assert not named["train"] & named["val"]
    assert not {"90", "91"} & set.union(*named.values())


def test_noisy_captions_are_the_tag_or_of_a_drawing_that_is_not_there(built: Path):
    records = open_dataset("emoji_scenes", data=built).records
    wrong = [one for one in records if one.payload["noisy"] != one.payload["tag"]]
    assert 0.1 < len(wrong) / len(records) < 0.5
    for record in wrong:
        absent = f"thing {str(record.payload['noisy']).split()[1]} "
        assert absent not in f"{record.payload['quality']} "


def test_the_same_scenes_are_drawn_again(built: Path, tmp_path: Path):
    again = tmp_path / "again"
    again.mkdir()
    emoji_scenes.build({"openmoji": tmp_path / "openmoji"}, again)
    files = sorted(file.relative_to(again) for file in again.rglob("*.png"))
    assert len(files) == 160
    assert all((again / file).read_bytes() == (built / "emoji_scenes" / file).read_bytes() for file in files)


def test_the_fetched_set_is_what_the_builder_promises():
    if not builders.is_current(emoji_scenes.FACTS, FETCHED / "emoji_scenes"):
        pytest.skip("emoji_scenes is not fetched: enfold data fetch emoji_scenes")
    data = open_dataset("emoji_scenes", data=FETCHED)
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [10_000, 500, 1_000]
    assert data.classes == CLASSES[1:]
    wrong = [one.payload["noisy"] != one.payload["tag"] for one in data.records]
    assert np.mean(wrong) == pytest.approx(emoji_scenes.WRONG, abs=0.02)
