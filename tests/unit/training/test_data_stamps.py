"""Stamps of Tux Paint: which have a caption, what is said of each, and how they lie on their page."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enfold import settings
from training.data import builders
from training.data.builders import stamps
from training.data.sources import open_dataset

FETCHED = settings.load().data  # read before each test gets a home of its own
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20pt" height="20pt"><path d="M0 0h40v40h-40" fill="#00f"/></svg>'


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    """A bird of each format, one in both, one mirrored, a caption without a picture, and forty coins."""
    root = tmp_path / "package" / stamps.STAMPS
    for folder in ("animals/birds/cartoon", "symbols/money/00_symbols"):
        (root / folder).mkdir(parents=True)
    birds = root / "animals/birds"
    Image.new("RGBA", (40, 20), (255, 0, 0, 255)).save(birds / "robin.png")
    Image.new("RGBA", (40, 20), (255, 0, 0, 255)).save(birds / "robin_mirror.png")
    (birds / "cartoon/crow.svg").write_text(SVG)
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(birds / "gull.png")
    (birds / "gull.svg").write_text("no drawing")
    captions = {"robin": "A robin.", "cartoon/crow": "A crow.", "gull": "A gull.", "heron": "A heron."}
    for name, caption in captions.items():
        (birds / f"{name}.txt").write_text(f"{caption}\nde.utf8=Ein Vogel.\n", encoding="utf-8")
    for number in range(40):
        Image.new("L", (8, 8), number).save(root / f"symbols/money/00_symbols/{number}.png")
        (root / f"symbols/money/00_symbols/{number}.txt").write_text(
            f"A coin of {number} cents (¢).\n", encoding="utf-8"
        )
    return {"tuxpaint-stamps-default": tmp_path / "package"}


def test_every_picture_with_a_caption_is_for_testing_with_three_kinds_of_texts(tmp_path: Path, packages):
    target = tmp_path / "data" / "stamps"
    target.mkdir(parents=True)
    stamps.build(packages, target)
    data = open_dataset("stamps", data=tmp_path / "data")
    assert {record.split for record in data.records} == {"test"}
    assert data.classes == ("animals", "symbols")
    found = {record.id: record.payload for record in data.records}
    assert len(found) == 43
    assert "animals/birds/heron" not in found
    assert "animals/birds/robin_mirror" not in found
    crow = found["animals/birds/cartoon/crow"]
    assert (crow["quality"], crow["tag"]) == ("A crow.", "birds")
    assert found["symbols/money/00_symbols/7"]["tag"] == "symbols"
    captions = {one["quality"] for one in found.values()}
    wrong = [one for one in found.values() if one["noisy"] != one["tag"]]
    assert 5 <= len(wrong) <= 22
    assert all(one["noisy"] in captions - {one["quality"]} for one in wrong)


def test_a_picture_lies_whole_in_the_middle_of_white(tmp_path: Path, packages):
    birds = packages["tuxpaint-stamps-default"] / stamps.STAMPS / "animals/birds"
    wide = np.asarray(stamps.on_white(birds / "robin.png"))
    assert wide.shape == (128, 128, 3)
    assert (wide[:32] == 255).all()
    assert (wide[34:94] == (255, 0, 0)).all()
    drawn = np.asarray(stamps.on_white(birds / "cartoon/crow.svg"))
    assert (drawn[2:-2, 2:-2] == (0, 0, 255)).all(), "points are 4 / 3 pixels"
    assert (np.asarray(stamps.on_white(birds / "gull.png")) == 255).all()


def test_the_set_that_was_fetched():
    if not builders.is_current(stamps.FACTS, FETCHED / "stamps"):
        pytest.skip("stamps is not fetched: enfold data fetch stamps")
    data = open_dataset("stamps", data=FETCHED)
    assert len(data) == 950
    wrong = [record.payload["noisy"] != record.payload["tag"] for record in data.records]
    assert np.mean(wrong) == pytest.approx(stamps.WRONG, abs=0.05)
    assert len({record.payload["quality"] for record in data.records}) > 800
