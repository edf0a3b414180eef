"""medical_cubes: cubes of 32 mm from magnetic resonance of two heads, a person's labelled by region of the brain.

Colin27 with AAL's regions in eight of brain_regions' groups, and a macaque without labels (INIA19, Rohlfing et al.
2012), which is for training alone. The person's left half is trained on. The right one is mirrored, so that its middle
lies where the left one's does; its middle third from back to front is for testing, the other two for validation.
`medical_slices` holds a slice through each of the labelled cubes.

    items/<split>/<x>_<y>_<z>.nii      items/train/macaque_<x>_<y>_<z>.nii
"""
# X Y Z voxels to the right, front, top

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from training.data.builders import Facts, brain_regions, write
from training.data.builders.brain_regions import MIDDLE, NAMES
from training.data.volumes import GAP, Region

SIDE, STEP = 32, 8  # voxels: of a cube, and from one to the next; in the macaque's head of half a millimetre too
CORE = 16  # voxels a side, in a cube's middle, that give it its label
LEAST_LABELLED, LEAST_ONE = 0.25, 0.5  # shares: of the core that is of any group, and of that the largest group
LEFT_OUT = NAMES.index("cingulate") - 1  # it lies along the middle, where a gap parts the halves
LEAST_HEAD = 0.5  # of a cube without labels that is not background
MACAQUE_STEP = 24

# Of Colin27's 181 x 217 x 181 voxels, after what is not trained on has been mirrored.
REGIONS = (
    Region("train", ((0, MIDDLE - GAP), (0, 217), (0, 181))),
    Region("val", ((0, MIDDLE - GAP), (0, 68), (0, 181))),
    Region("test", ((0, MIDDLE - GAP), (76, 140), (0, 181))),
    Region("val", ((0, MIDDLE - GAP), (148, 217), (0, 181))),
)

[_mricron] = brain_regions.FACTS.packages

FACTS = Facts(
    name="medical_cubes",
    modality="volume",
    title="Medical cubes: 32 mm of a head (Colin27) with eight groups of regions, and of a macaque's (INIA19)",
    licence=brain_regions.FACTS.licence,
    packages=(
        _mricron.model_copy(
            update={"wanted": (*_mricron.wanted, "usr/share/mricron/templates/inia19-t1-brain.nii.gz")}
        ),
    ),
)


@dataclass(frozen=True)
class Place:
    """A labelled cube of Colin27."""

    region: Region
    corner: tuple[int, int, int]  # voxels
    label: str

    @property
    def name(self) -> str:
        return f"{self.region.split}/" + "_".join(f"{at:03}" for at in self.corner)

    def facts(self) -> dict[str, Any]:
        return {"label": self.label, "group": self.region.split}

    def half(self, head: np.ndarray) -> np.ndarray:
        """The head [X, Y, Z] with the half that is meant to the left; MIDDLE is the middle either way."""
        return half(head, self.region)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write cubes and the manifest into `target`."""
    image, regions, affine = brain_regions.head(packages)
    rows = [
        {**_saved(place.half(image), affine, place.corner, target, place.name), **place.facts()}
        for place in places(regions)
    ]
    macaque = nibabel.load(packages["mricron-data"] / "usr/share/mricron/templates/inia19-t1-brain.nii.gz")
    write(FACTS, [*rows, *_unlabelled(np.asanyarray(macaque.dataobj), macaque.affine, target)], target)


def places(regions: np.ndarray) -> Iterator[Place]:
    """Where cubes lie whose middle is of one group of regions [X, Y, Z] for the most part."""
    margin = (SIDE - CORE) // 2
    for region in REGIONS:
        for corner in corners(region.box, STEP):
            core = half(regions, region)[tuple(slice(at + margin, at + margin + CORE) for at in corner)]
            counts = np.bincount(core.ravel(), minlength=len(NAMES))[1:]
            counts[LEFT_OUT] = 0
            if counts.sum() >= LEAST_LABELLED * core.size and counts.max() >= LEAST_ONE * counts.sum():
                yield Place(region, corner, NAMES[1 + int(counts.argmax())])


def half(head: np.ndarray, region: Region) -> np.ndarray:
    return head if region.split == "train" else head[::-1]


def corners(box: tuple[tuple[int, int], ...], step: int) -> Iterator[tuple[int, int, int]]:
    """Of every cube that lies whole inside a box."""
    xs, ys, zs = (range(low, high - SIDE + 1, step) for low, high in box)
    return product(xs, ys, zs)


def _unlabelled(image: np.ndarray, affine: np.ndarray, target: Path) -> Iterator[dict[str, Any]]:
    box = tuple((0, count) for count in image.shape)
    for corner in corners(box, MACAQUE_STEP):
        cube = image[tuple(slice(at, at + SIDE) for at in corner)]
        if (cube > 0).mean() >= LEAST_HEAD:
            name = "train/macaque_" + "_".join(f"{at:03}" for at in corner)
            yield {**_saved(image, affine, corner, target, name), "label": None, "group": "macaque"}


def _saved(
    image: np.ndarray, affine: np.ndarray, corner: tuple[int, int, int], target: Path, name: str
) -> dict[str, Any]:
    """Write a cube as NIfTI, not compressed, for it is read at every step; what its row says of the file."""
    path, place = target / f"items/{name}.nii", affine.copy()
    place[:3, 3] = (affine @ [*corner, 1])[:3]
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image[tuple(slice(at, at + SIDE) for at in corner)], place), path)
    return {
        "id": name,
        "path": f"items/{name}.nii",
        "split": name.partition("/")[0],
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
