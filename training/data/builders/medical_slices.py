"""medical_slices: slices of a person's head in magnetic resonance, and tiles of other pictures.

A slice lies flat through the middle of each labelled cube of medical_cubes, 32 pixels of a millimetre a side, and has
the cube's id and label. Tiles of 64 pixels have no labels and are for training alone: the back of an eye, stained
tissue, a cell, microaneurysms of an eye.

    items/<split>/<x>_<y>_<z>.png      items/train/<picture>_<x>_<y>.png
"""
# H W height, width; X Y Z voxels to the right, front, top

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from training.data.builders import Facts, brain_regions, medical_cubes, write
from training.data.builders.medical_cubes import Place

SIDE, STEP = 64, 96  # pixels: of a tile, and from one to the next
LEAST_SEEN = 0.9  # share of a tile that is not black: around the back of an eye there is nothing

FACTS = Facts(
    name="medical_slices",
    modality="image",
    title="Medical slices: 32 mm of a head (Colin27) with eight groups of regions, and tiles of other pictures",
    licence=(
        f"slices: {brain_regions.FACTS.licence}; tiles: pictures of scikit-image: retina (CC0-1.0), "
        "immunohistochemistry (no known copyright restrictions), cell (CC0-1.0), microaneurysms (CC0-1.0)"
    ),
    packages=brain_regions.FACTS.packages,
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write pictures and the manifest into `target`."""
    image, regions, _ = brain_regions.head(packages)
    rows = [
        {**_saved(head_slice(place.half(image), place), target, place.name), **place.facts()}
        for place in medical_cubes.places(regions)
    ]
    write(FACTS, [*rows, *_tiles(target)], target)


def head_slice(image: np.ndarray, place: Place) -> np.ndarray:
    """uint8 [32, 32], front upwards, through the middle of a cube."""
    (x, y, z), side = place.corner, medical_cubes.SIDE
    return image[x : x + side, y : y + side, z + side // 2].T[::-1]


def _tiles(target: Path) -> Iterator[dict[str, Any]]:
    pictures = {
        "retina": data.retina(),
        "tissue": data.immunohistochemistry(),
        "cell": data.cell(),
        "microaneurysms": data.microaneurysms(),
    }
    for name, picture in pictures.items():
        for y in range(0, picture.shape[0] - SIDE + 1, STEP):
            for x in range(0, picture.shape[1] - SIDE + 1, STEP):
                tile = picture[y : y + SIDE, x : x + SIDE]
                if (tile.reshape(SIDE, SIDE, -1).max(2) > 16).mean() >= LEAST_SEEN:
                    found = _saved(tile, target, f"train/{name}_{x:04}_{y:04}")
                    yield {**found, "label": None, "group": name}


def _saved(pixels: np.ndarray, target: Path, name: str) -> dict[str, Any]:
    """Write a picture as PNG; what its row says of the file."""
    path = target / f"items/{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    return {
        "id": name,
        "path": f"items/{name}.png",
        "split": name.partition("/")[0],
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
