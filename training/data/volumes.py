"""A labelled scan cut into overlapping blocks, in regions that share no tissue between splits.

One scan is one subject: what can be held out of it is a part of it, and never a person.
"""
# X Y Z voxels to the right, front, top

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from enfold.modalities.volume import window_starts

SIDE, OVERLAP = 96, 0.66  # millimetres of a block, and the share of it that the next one sees again
GAP = 4  # millimetres left out on both sides of every border between splits


@dataclass(frozen=True)
class Region:
    """A box of millimetre voxels, [start, end) along each axis, that belongs to one split."""

    split: str
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def hemispheres(shape: tuple[int, ...], middle: int) -> list[Region]:
    """The left one to train on; of the right one the back third to validate on, the rest to test on.

    middle   voxel of the plane between them
    """
    X, Y, Z = shape
    border = Y // 3
    return [
        Region("train", ((0, middle - GAP), (0, Y), (0, Z))),
        Region("val", ((middle + GAP, X), (0, border - GAP), (0, Z))),
        Region("test", ((middle + GAP, X), (border + GAP, Y), (0, Z))),
    ]


def write_blocks(
    image: np.ndarray, labels: np.ndarray, affine: np.ndarray, regions: list[Region], names: tuple[str, ...], to: Path
) -> Iterator[dict[str, Any]]:
    """Manifest rows of the blocks, each with its scan in items/ and its label map in labels/ below `to`.

    image, labels   [X, Y, Z] at 1 mm; labels are positions in `names`, 0 = none of them
    """
    for region in regions:
        starts = []
        for low, high in region.box:
            side = min(SIDE, high - low)
            starts.append([(low + at, low + at + side) for at in window_starts(high - low, side, OVERLAP)])
        for number, block in enumerate(product(*starts)):
            cut = tuple(slice(low, high) for low, high in block)
            place = affine.copy()
            place[:3, 3] = (affine @ [*(low for low, _ in block), 1])[:3]
            name = f"{region.split}-{number:02}.nii.gz"
            digest = _save(image[cut], place, to / "items" / name)
            _save(labels[cut].astype(np.uint8), place, to / "labels" / name)
            counts = np.bincount(labels[cut].ravel(), minlength=len(names))
            yield {
                "id": f"{region.split}/{number:02}",
                "path": f"items/{name}",
                "labels": f"labels/{name}",
                "label": names[1 + int(counts[1:].argmax())],  # what most of it is
                "group": region.split,
                "split": region.split,
                "sha256": digest,
            }


def _save(values: np.ndarray, affine: np.ndarray, path: Path) -> str:
    """Write NIfTI, compressed, and return its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
