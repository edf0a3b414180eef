"""Laws of the chips of the Earth: where they lie, how splits come about, what maps and colours tell of them."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from enfold.modalities.multispectral import Multispectral
from training.data.builders import earth, photographs


def test_splits_are_longitudes_that_share_no_pixel():
    width = earth.WIDTH // len(earth.SPLITS)
    for left, _ in earth.corners():
        assert left // width == (left + earth.SIDE - 1) // width
    assert {earth.SPLITS.count(split) for split in ("train", "val", "test")} == {4, 1, 3}
    assert all(a != b for a, b in zip(earth.SPLITS, earth.SPLITS[1:] + earth.SPLITS[:1], strict=True)), (
        "bands alternate"
    )


def test_chips_lie_within_the_latitudes_and_those_of_test_are_apart():
    tops = {top for _, top in earth.corners()}
    degrees = [90 - 180 * row / earth.HEIGHT for row in (min(tops), max(tops) + earth.SIDE)]
    assert degrees[0] <= 60.1
    assert degrees[1] >= -60.1
    test = [(left, top) for left, top in earth.corners() if earth.SPLITS[left * 8 // earth.WIDTH] == "test"]
    starts = sorted({top for _, top in test})
    assert min(b - a for a, b in pairwise(starts)) == earth.SIDE


def test_a_place_is_in_its_pixel():
    points = np.array([[-180.0, 90], [0, 0], [179.99, -89.99], [180, -90]])
    last = [earth.HEIGHT - 1, earth.WIDTH - 1]
    assert earth.pixels_of(points).tolist() == [[0, 0], [earth.HEIGHT // 2, earth.WIDTH // 2], last, last]


def test_lines_are_followed_without_gaps(tmp_path: Path):
    line = np.array([[0, 0], [3, 1], [3, -1]], "<f4")
    (tmp_path / "rivers_l.dat").write_bytes(b"\0" * 8 + line.tobytes())
    (tmp_path / "riversmeta_l.dat").write_text(f"-1 -1 3 0 0 8 {line.nbytes} 0\n")
    points = earth._lines(tmp_path, "rivers")
    steps = np.abs(np.diff(points, axis=0)).max(1)
    assert steps.max() <= 360 / earth.WIDTH + 1e-9
    assert points[-1].tolist() == [3, -1]
    assert earth._counted(points).sum() == len(points)


@pytest.mark.parametrize(
    ("colour", "surface"),
    [((250, 250, 250), "snow"), ((200, 170, 120), "desert"), ((40, 70, 30), "vegetation"), ((5, 10, 60), None)],
)
def test_colour_tells_the_surface(colour, surface):
    pixels = np.broadcast_to(np.array(colour, np.uint8)[:, None, None], (3, 4, 4))
    assert [name for name, where in earth.surfaces(pixels).items() if where.all()] == ([surface] if surface else [])


def chip(**layers) -> earth.Maps:
    side = (earth.SIDE, earth.SIDE)
    plain = {
        "bands": np.full((5, *side), 90, np.uint8),
        "others": np.full((5, *side), 80, np.uint8),
        "ocean": np.zeros(side),
        "lake": np.zeros(side),
        "height": np.zeros(side, np.uint8),
        "river": np.zeros(side, bool),
        "border": np.zeros(side, bool),
        "places": np.zeros(side, int),
    }
    return earth.Maps(**(plain | layers))


def test_what_maps_show_and_what_is_judged_share_no_map(tmp_path: Path):
    """Rivers, shores and heights change `cover` alone; colours, borders and places change `labels` alone."""
    side = (earth.SIDE, earth.SIDE)
    shore, green = np.zeros(side), np.full((5, *side), 30, np.uint8)
    shore[:8], green[1] = 1, 80
    plain = earth._row(0, 352, chip(), 3, tmp_path)
    assert (plain["cover"], plain["labels"]) == ("lowland", "")
    mapped = chip(ocean=shore, river=np.ones(side, bool), height=np.full(side, 50, np.uint8))
    row = earth._row(0, 352, mapped, 3, tmp_path)
    assert (row["cover"], row["labels"]) == ("coast river highland", "")
    seen = chip(bands=green, border=np.eye(*side, dtype=bool), places=np.eye(*side, dtype=int))
    row = earth._row(0, 352, seen, 3, tmp_path)
    assert (row["cover"], row["labels"], row["label"]) == ("lowland", "vegetation settled border", "vegetation")


def test_a_chip_knows_its_place_and_its_bands(tmp_path: Path):
    row = earth._row(2048, 1024, chip(), 3, tmp_path)
    found = Multispectral(None).read(tmp_path / row["path"])
    assert found.bands == earth.BANDS
    np.testing.assert_allclose(found.affine @ (0, 0, 1), [0, 0], atol=1e-9)
    assert found.crs == "EPSG:4326"
    assert (row["longitude"], row["latitude"]) == (1.406, -1.406)
    assert (row["split"], row["group"]) == ("train", "band4")
    assert Multispectral(None).read(tmp_path / row["other"]).values[0, 0, 0] == 80


def test_photos_are_rasters_of_three_bands_split_by_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(photographs, "STEP", 96)
    photographs.build({}, tmp_path)
    facts = json.loads((tmp_path / "dataset.json").read_text())
    assert facts["counts"]["items"] == sum(facts["counts"][split] for split in ("train", "val", "test"))
    found = Multispectral(None).read(next((tmp_path / "items/chelsea").iterdir()))
    assert (found.bands, found.values.shape) == (("red", "green", "blue"), (3, 32, 32))
