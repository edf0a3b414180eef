"""What costs nothing beside a model of places: a blur of what is seen, lumps of matter."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from enfold.modalities.radiance import Grid, Radiance, RadiancePreprocess
from training.encoders import build
from training.evaluation import box_components, inpainting
from training.methods.nerf_mae import NeRFMAE

PREPROCESS = RadiancePreprocess(size=16, voxel=0.25)


def room(place: tuple[int, int], colour: float, side: int = 3) -> tuple[Grid, str]:
    """A block on the floor of a closed room of 4 m, and its box."""
    density, rgb = np.zeros((16, 16, 12), np.float32), np.full((16, 16, 12, 3), 0.4, np.float32)
    for axis in range(3):
        ends = np.moveaxis(density, axis, 0)
        ends[0] = ends[-1] = 40
    x, y = place
    density[x : x + side, y : y + side, 1:5], rgb[x : x + side, y : y + side, 1:5] = 30, colour
    low, size = np.array([x, y, 1]) * 0.25, np.array([side, side, 4]) * 0.25
    box = {"label": "dark" if colour < 0.3 else "light", "centre": (low + size / 2).tolist(), "size": size.tolist()}
    return Grid(density, rgb, np.array([[0, 0, 0], [4, 4, 3.0]])), json.dumps([box])


def subject(count: int = 8) -> Any:
    rng, reader = np.random.default_rng(0), Radiance(PREPROCESS)
    rooms = {
        split: [room(tuple(rng.integers(3, 10, 2)), (0.1, 0.9)[i % 2]) for i in range(count)]
        for split in ("train", "val", "test")
    }

    def data(split: str) -> Any:
        return Some([grid for grid, _ in rooms[split]])

    return SimpleNamespace(
        data=data,
        modality=reader,
        side=lambda split, name: [text for _, text in rooms[split]],
        prepared=lambda split: reader.collate([reader.prepare(grid)[0] for grid, _ in rooms[split]]),
        dataset=SimpleNamespace(folder=Path()),
        run=SimpleNamespace(seed=0),
    )


class Some(list):
    def read(self, i: int, modality: Any) -> Grid:
        return self[i]


def test_lumps_are_boxed_and_called_by_their_colour():
    found = box_components.evaluate(subject())
    assert found["map25"] > 0.9
    assert found["recall25"] == 1.0
    assert set(found) == {"map25", "map50", "recall25", "recall50"}


def test_a_lump_is_what_hangs_together_off_the_walls():
    grid, text = room((5, 7), 0.9, side=4)
    [lump] = box_components.lumps(grid, dense=3.0, least=6)
    [box] = json.loads(text)
    np.testing.assert_allclose(lump.centre, box["centre"], atol=1e-6)
    np.testing.assert_allclose(lump.size, box["size"], atol=1e-6)
    assert box_components.lumps(grid, dense=3.0, least=999) == []


def test_a_blur_knows_what_lies_near_and_the_mean_what_is_usual():
    one = subject(4)
    torch.manual_seed(0)
    encoder = build("swin3d", {"dim": 12, "depths": [1, 1], "heads": [2, 2]}, 16)
    one.method = NeRFMAE.build(encoder, {}, PREPROCESS).eval()
    found = inpainting.evaluate(one)
    assert set(found) == {f"{kind}{name}" for kind in ("", "blur_", "mean_") for name in ("rgb", "alpha")}
    assert all(np.isfinite(list(found.values())))
    assert found["rgb"] < found["mean_rgb"]  # nothing has been learnt


def test_quality_is_in_decibels_of_what_was_hidden():
    inputs = subject(2).prepared("test")
    hidden = np.zeros((2, 16, 16, 16), bool)
    hidden[:, :8] = True
    off = inputs["radiance"] + np.where(hidden[:, None], 0.1, 7.0)  # whatever is wrong with what is seen
    assert inpainting.quality(off, inputs, hidden) == {"rgb": pytest.approx(20), "alpha": pytest.approx(20)}
    everything = inpainting.blurred(inputs, np.zeros_like(hidden), 0.01, np.zeros(4, np.float32))
    place, seen = inputs["valid"] > 0, inputs["radiance"][:, 3] > 0.01
    np.testing.assert_allclose(everything[:, 3][place], inputs["radiance"][:, 3][place], atol=1e-5)
    np.testing.assert_allclose(everything[:, 0][seen], inputs["radiance"][:, 0][seen], atol=1e-5)
