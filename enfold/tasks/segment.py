"""segment: which class each voxel of a volume has, on the volume's own grid.

The graph sees windows of one size; where they overlap, each counts most in its middle (Isensee et al. 2021, nnU-Net).
Logits are brought back to the grid that the volume came in, and only there the best class of a voxel is taken.
"""
# K classes, P side of a window, X Y Z voxels

import gzip
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from enfold.errors import require
from enfold.modalities import Sample, Spec
from enfold.modalities.volume import Voxels, rescaled
from enfold.tasks import Graphs, Prepared, Task

_BATCH = 4  # windows at once
_SPREAD = 8  # a window's weight falls by a Gaussian of its side / 8


class SegmentSpec(Spec):
    labels: tuple[str, ...]  # by number; the first is background
    graph: str  # volume [B, 1, P, P, P] -> out_segment [B, K, P, P, P]


class SegmentOptions(BaseModel, extra="forbid"):
    mirror: bool = Field(
        False, description="also look at every window mirrored along each axis: slower, a little better"
    )


class Amount(BaseModel):
    label: str
    millilitres: float


class SegmentAnswer(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    volume: bytes = Field(description="label numbers on the grid of the item, NIfTI (.nii.gz)")
    labels: list[str] = Field(description="names by number; 0 is background")
    amounts: list[Amount] = Field(description="of every class but background")


class Segment(Task[SegmentAnswer]):
    name = "segment"
    Spec, Options, Answer = SegmentSpec, SegmentOptions, SegmentAnswer
    encodes, modality = False, "volume"

    def parts(self, options: SegmentOptions) -> bool:
        return True

    def run(self, graphs: Graphs, prepared: Prepared, options: SegmentOptions) -> list[SegmentAnswer]:
        return [self._answer(graphs, windows, options) for windows in prepared.samples]

    def measure(self, answers: Sequence[SegmentAnswer], truth: Sequence[Voxels]) -> dict[str, float]:
        """Dice of every class over all items together, and their mean over the classes that are there."""
        both, found, there = (np.zeros(len(self.spec.labels)) for _ in range(3))
        for answer, actual in zip(answers, truth, strict=True):
            seen, real = label_map(answer).ravel(), actual.values.astype(int).ravel()
            for counts, values in ((both, seen[seen == real]), (found, seen), (there, real)):
                counts += np.bincount(values, minlength=len(counts))[: len(counts)]
        dice = {
            name: float(2 * both[k] / (found[k] + there[k]))
            for k, name in enumerate(self.spec.labels)
            if k and there[k]
        }
        mean = float(np.mean(list(dice.values()))) if dice else float("nan")
        return {"dice": mean} | {f"dice_{name}": value for name, value in dice.items()}

    def _answer(self, graphs: Graphs, windows: list[Sample], options: SegmentOptions) -> SegmentAnswer:
        origin = windows[0].origin
        labels = best_class(self._logits(graphs, windows, options), origin)
        litres = np.bincount(labels.ravel(), minlength=len(self.spec.labels)) * np.prod(origin["spacing"]) / 1000
        amounts = [Amount(label=name, millilitres=litres[k]) for k, name in enumerate(self.spec.labels) if k]
        nibabel = require("nibabel", "volume", "writing a label map")
        file = nibabel.Nifti1Image(labels, origin["affine"]).to_bytes()
        packed = gzip.compress(file, compresslevel=3, mtime=0)
        return SegmentAnswer(volume=packed, labels=list(self.spec.labels), amounts=amounts)

    def _logits(self, graphs: Graphs, windows: list[Sample], options: SegmentOptions) -> np.ndarray:
        """[K, X, Y, Z] at the encoder's spacing, filling included."""
        side = windows[0].arrays["volume"].shape[-1]
        weight, grid = window_weight(side), windows[0].origin["grid"]
        total = np.zeros((len(self.spec.labels), *grid), np.float32)
        counted = np.zeros(grid, np.float32)
        for at in range(0, len(windows), _BATCH):
            batch = windows[at : at + _BATCH]
            volume = np.stack([window.arrays["volume"] for window in batch])
            for window, logits in zip(batch, self._looked(graphs, volume, options.mirror), strict=True):
                place = tuple(slice(start, start + side) for start in window.origin["corner"])
                total[(slice(None), *place)] += logits * weight
                counted[place] += weight
        return total / counted

    def _looked(self, graphs: Graphs, volume: np.ndarray, mirror: bool) -> np.ndarray:
        """Logits of windows [B, 1, P, P, P], averaged over their mirror images if asked: [B, K, P, P, P]."""
        views = list(_mirrors()) if mirror else [()]
        logits = [
            np.flip(graphs(self.spec.graph, {"volume": np.flip(volume, axes)})["out_segment"], axes) for axes in views
        ]
        mean: np.ndarray = np.mean(logits, axis=0)
        return mean


def label_map(answer: SegmentAnswer) -> np.ndarray:
    """The numbers of an answer, [X, Y, Z]."""
    nibabel = require("nibabel", "volume", "reading a label map")
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.volume))
    return np.asarray(image.dataobj)


def best_class(logits: np.ndarray, origin: Mapping[str, Any]) -> np.ndarray:
    """Class numbers uint8 or uint16 [X, Y, Z] on the grid the item came in, from logits at the encoder's spacing.

    One class at a time is brought there, so that many classes of a fine volume do not fill the memory.
    """
    shape, filled = origin["shape"], zip(origin["before"], origin["after"], origin["grid"], strict=True)
    real = tuple(slice(before, count - after) for before, after, count in filled)
    best = np.full(shape, -np.inf, np.float32)
    chosen = np.zeros(shape, np.uint8 if len(logits) < 256 else np.uint16)
    for k, one in enumerate(logits):
        score = rescaled(one[real], shape)
        better = score > best
        chosen[better], best[better] = k, score[better]
    return chosen


def window_weight(side: int) -> np.ndarray:
    """How much each voxel of a window counts, [P, P, P], 1 in the middle and never 0."""
    away = (np.arange(side) - (side - 1) / 2) / (side / _SPREAD)
    along = np.exp(-(away**2) / 2)
    weight = along[:, None, None] * along[:, None] * along
    return np.maximum(weight / weight.max(), 1e-3).astype(np.float32)


def _mirrors() -> Iterator[tuple[int, ...]]:
    """Every set of the three spatial axes of [B, C, X, Y, Z]."""
    for chosen in product((False, True), repeat=3):
        yield tuple(axis for axis, flip in zip((2, 3, 4), chosen, strict=True) if flip)
