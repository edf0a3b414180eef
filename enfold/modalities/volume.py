"""volume: a 3-D scan, as NIfTI, NRRD, DICOM or a bare array (.npy, whose voxels count as 1 mm cubes).

DICOM is one file, of a slice or of frames, or a series: a folder, or a .zip of it, of files with a slice each.

A decoded volume is `Voxels`: float32 [X, Y, Z] turned so that the axes run to the right, the front and the top of the
body (NIfTI's RAS+), with the affine that places them in millimetres. The encoder sees cubes of `patch` voxels at one
spacing: of a larger volume the windows of an overlapping grid, or the middle one alone; a smaller one is filled up with
background, which is 0.
"""
# X Y Z voxels to the right, front, top; P side of a patch

import io
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Modality, Part, Sample, Spec, Stored, members
from enfold.scans import Scan, dicom, nifti, npy, nrrd

ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Voxels:
    values: np.ndarray  # float32 [X, Y, Z]
    affine: np.ndarray  # [4, 4], voxel -> millimetres

    @property
    def spacing(self) -> np.ndarray:
        """Millimetres from voxel to voxel along each axis, [3]."""
        found: np.ndarray = np.linalg.norm(self.affine[:3, :3], axis=0)
        return found


class VolumePreprocess(Spec):
    """From `Voxels` to float32 [1, P, P, P] of mean 0 and deviation 1 over what is not background."""

    spacing: float = Field(gt=0)  # mm from voxel to voxel, in every direction
    patch: int = Field(ge=8, le=1024)  # voxels a side
    overlap: float = Field(0.5, ge=0, lt=1)  # share of a window that the next one sees again


class VolumeLimits(Spec):
    max_bytes: int = 256 * 2**20
    max_voxels: int = 100_000_000  # as stored, and again at the encoder's spacing
    max_files: int = 4_000  # of a series
    least_spacing: float = 0.01  # mm
    largest_spacing: float = 50.0


class VolumeJson(BaseModel, extra="forbid"):
    volume: str = Field(description="the file's bytes (.nii, .nii.gz, .nrrd, .dcm, .npy, or a .zip of .dcm), base64")


class Volume(Modality[Voxels]):
    name = "volume"
    media_types = {
        ".nii": "application/vnd.nifti",
        ".nii.gz": "application/vnd.nifti+gzip",
        ".nrrd": "application/x-nrrd",
        ".dcm": "application/dicom",
        ".dcm.zip": "application/dicom+zip",
        ".npy": "application/vnd.numpy",
    }
    members = (".dcm",)
    Preprocess, Limits, Json = VolumePreprocess, VolumeLimits, VolumeJson

    @property
    def input_size(self) -> int:
        return int(self.preprocess.patch)

    def read(self, item: Any) -> Voxels:
        """From file bytes, a path, an array [X, Y, Z] or `Voxels`. Raises BadItem or TooLarge."""
        if isinstance(item, Voxels):
            return item
        if isinstance(item, np.ndarray):
            self._check_shape(item.shape)
            return Voxels(_real(item), np.eye(4))
        if isinstance(item, str | Path) and Path(item).is_dir():
            return self._decoded(self._series(Path(item)))
        if isinstance(item, Stored):
            return self._decoded(self._open(self.file_bytes(item)))
        raise BadItem(f"a volume is file bytes, a path or an array, not {type(item).__name__}")

    def prepare(self, value: Voxels, *, parts: bool = False) -> list[Sample]:
        """Samples {"volume": float32 [1, P, P, P]}; `origin` tells where the window lies and what the grid was."""
        side = self.preprocess.patch
        grid = self.resampled(value)  # [X, Y, Z]
        missing = [max(0, side - count) for count in grid.shape]
        before, after = tuple(short // 2 for short in missing), tuple(short - short // 2 for short in missing)
        grid = standardized(np.pad(grid, list(zip(before, after, strict=True))))
        if parts:
            corners = list(product(*(window_starts(count, side, self.preprocess.overlap) for count in grid.shape)))
        else:
            corners = [tuple((count - side) // 2 for count in grid.shape)]
        origin = {
            "affine": value.affine,
            "shape": value.values.shape,
            "spacing": value.spacing,
            "grid": grid.shape,
            "before": before,  # voxels of filling
            "after": after,
        }
        return [
            Sample(
                {"volume": np.ascontiguousarray(grid[None, x : x + side, y : y + side, z : z + side])},
                part=Part(index=index, start=z, end=z + side) if len(corners) > 1 else None,
                origin=origin | {"corner": (x, y, z)},
            )
            for index, (x, y, z) in enumerate(corners)
        ]

    def thumbnail(self, value: Voxels, side: int = 96) -> bytes:
        """The middle slice from above, front upwards."""
        from PIL import Image

        piece = value.values[:, :, value.values.shape[2] // 2]
        low, high = np.percentile(piece, (1, 99))
        grey = np.clip((piece - low) / max(float(high - low), 1e-6), 0, 1) * 255
        image, file = Image.fromarray(grey.T[::-1].astype(np.uint8)), io.BytesIO()
        image.thumbnail((side, side))
        image.save(file, "WEBP", quality=85)
        return file.getvalue()

    def resampled(self, value: Voxels, *, nearest: bool = False) -> np.ndarray:
        """The values at the encoder's spacing, float32 [X, Y, Z]; `nearest` for label maps. Raises TooLarge."""
        scale = value.spacing / self.preprocess.spacing
        shape = tuple(max(1, round(count * factor)) for count, factor in zip(value.values.shape, scale, strict=True))
        if np.prod(shape, dtype=float) > self.limits.max_voxels:
            raise TooLarge(
                f"at {self.preprocess.spacing} mm the volume has {' x '.join(map(str, shape))} voxels; "
                f"at most {self.limits.max_voxels:,} in all: cut out the part you mean"
            )
        return rescaled(value.values, shape, nearest=nearest)

    def _open(self, data: bytes) -> Scan:
        """A file, told by its first bytes."""
        if data.startswith(ZIP):
            return self._series(data)
        if data.startswith(npy.MAGIC):
            return npy.open_scan(data)
        if data.startswith(nrrd.MAGIC):
            return nrrd.open_scan(data)
        if data.startswith(dicom.MAGIC, dicom.MAGIC_AT):
            return dicom.open_file(data)
        return nifti.open_scan(data)

    def _series(self, item: bytes | Path) -> Scan:
        """A folder of DICOM slices, or a .zip of one."""
        most = self.limits
        return dicom.open_series(members(item, self.members, max_bytes=most.max_bytes, max_files=most.max_files))

    def _decoded(self, scan: Scan) -> Voxels:
        """Voxels turned to the nearest right, front and top, read once the header has been found to make sense."""
        self._check_shape(scan.shape)
        self._check_affine(scan.affine)
        values = _real(scan.voxels())
        orientations = require("nibabel.orientations", "volume", "turning a volume")
        turn = orientations.io_orientation(scan.affine)
        turned = orientations.apply_orientation(values, turn)
        return Voxels(turned, scan.affine @ orientations.inv_ornt_aff(turn, scan.shape))

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or min(shape, default=0) < 1:
            seen = " x ".join(map(str, shape)) or "nothing"
            raise BadItem(f"a volume has three axes and one channel; this one is {seen}: save one volume a file")
        if np.prod(shape, dtype=float) > self.limits.max_voxels:
            raise TooLarge(
                f"the volume has {' x '.join(map(str, shape))} voxels; at most {self.limits.max_voxels:,} in all"
            )

    def _check_affine(self, affine: np.ndarray) -> None:
        """A grid whose place in the body cannot be told is refused, for its answer would lie elsewhere."""
        finite = bool(np.isfinite(affine).all())
        if not finite or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise BadItem(
                "the affine of the volume cannot be inverted, so its orientation is unknown: repair its header"
            )
        least, most = self.limits.least_spacing, self.limits.largest_spacing
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() < least or spacing.max() > most:
            seen = " x ".join(f"{value:.4g}" for value in spacing)
            raise BadItem(
                f"the voxels of the volume are {seen} mm; {least:g} to {most:g} mm are taken: "
                "is its header in millimetres?"
            )


def rescaled(values: np.ndarray, shape: tuple[int, ...], *, nearest: bool = False) -> np.ndarray:
    """[X, Y, Z] onto a grid of `shape` over the same space: linear, or the nearest voxel. float32."""
    ndimage = require("scipy.ndimage", "volume", "resampling a volume")
    if values.shape == tuple(shape):
        return values.astype(np.float32)
    step = np.array(values.shape) / np.array(shape)
    # Voxels are cubes: their centres lie half a voxel inside the volume, whatever the grid.
    order, offset = (0 if nearest else 1), (step - 1) / 2
    found: np.ndarray = ndimage.affine_transform(
        values.astype(np.float32), step, offset, output_shape=shape, order=order, mode="nearest"
    )
    return found


def standardized(values: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 over the voxels that are not 0, which is what scanners leave outside a body."""
    inside = values[values != 0]
    if not len(inside):
        return values
    mean, deviation = inside.mean(dtype=np.float64), inside.std(dtype=np.float64)
    standard: np.ndarray = (values - np.float32(mean)) / np.float32(max(deviation, 1e-6))
    return standard


def window_starts(count: int, side: int, overlap: float) -> list[int]:
    """Where windows begin along an axis: from first voxel to last, evenly apart by at most side x (1 - overlap)."""
    steps = int(np.ceil((count - side) / max(1, side * (1 - overlap))))
    return [round(at) for at in np.linspace(0, count - side, steps + 1)]


def _real(values: np.ndarray) -> np.ndarray:
    """float32; what is no number counts as background."""
    if values.dtype.kind not in "biuf":
        raise BadItem(f"the voxels are {values.dtype}; numbers are needed (no colours, no complex values)")
    values = values.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        raise BadItem("no voxel of the volume is a finite number: was it divided by zero before it was saved?")
    return np.where(finite, values, np.float32(0))
