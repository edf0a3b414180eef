"""Laws of the histology tiles: what is cut, what is left out, how splits and labels come about."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import builders
from training.data.builders import Facts, histology
from training.data.sources import open_dataset


def test_splits_are_regions_apart_by_a_tile_or_more():
    for (slide, split, *a), (other, other_split, *b) in combinations(histology.REGIONS, 2):
        if slide == other and split != other_split:
            apart = [max(a[i], b[i]) - min(a[i + 2], b[i + 2]) for i in (0, 1)]
            assert max(apart) >= histology.SIDE


def test_tiles_lie_whole_inside_their_region():
    box = [10, 20, 175, 150]
    corners = list(histology.corners(box))
    assert corners[:2] == [(10, 20), (42, 20)]
    assert len(corners) == 4 * 3
    assert max(x for x, _ in corners) + 64 <= 175
    assert max(y for _, y in corners) + 64 <= 150


def test_tiles_that_are_mostly_glass_are_left_out_and_regions_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(histology, "REGIONS", (("one", "train", 0, 0, 128, 64), ("one", "test", 0, 128, 64, 192)))
    slide = np.full((192, 128, 3), 245, np.uint8)
    slide[:64, :26] = slide[128:] = (200, 120, 170)  # 41 % of the first tile, all of the last
    rows = list(histology._tiles("one", slide, tmp_path))
    assert [(row["id"], row["split"], row["tissue"], row["group"]) for row in rows] == [
        ("one/0000_0000", "train", 0.406, "one_0"),
        ("one/0000_0128", "test", 1.0, "one_1"),
    ]
    assert np.array_equal(np.asarray(Image.open(tmp_path / rows[1]["path"])), slide[128:, :64])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "regions/train/one_0.png")), slide[:64])


def test_mean_colour_does_not_tell_the_label():
    """Counts follow colour and a noise: within a bin the thirds are drawn by the noise alone."""
    rng = np.random.default_rng(0)
    colours, noise = rng.uniform(0, 255, (1600, 3)), rng.normal(size=1600)
    labels = histology.within_bins(colours, 0.01 * colours[:, 0] + noise)
    assert np.bincount(labels) == pytest.approx(1600 / 3, rel=0.1)
    assert abs(np.corrcoef(labels, colours[:, 0])[0, 1]) < 0.1
    assert np.corrcoef(labels, noise)[0, 1] > 0.8


def test_a_builder_may_give_splits_of_its_own(tmp_path: Path):
    facts = Facts(name="mnist", modality="image", title="", licence="", packages=())
    rows = []
    for number, split in enumerate(["test", "train", "val", "test"]):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
        rows.append({"path": f"{number}.png", "label": "a", "group": "all", "split": split, "x": number})
    builders.write(facts, rows, tmp_path)
    opened = open_dataset(str(tmp_path / "manifest.parquet"), data=tmp_path)
    assert [record.split for record in opened.records] == ["test", "train", "val", "test"]
    assert opened.records[3].payload["x"] == 3
