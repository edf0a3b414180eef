"""radiance: a place as a radiance field sampled into voxels: how dense each is and which colour it has (.npz).

A file holds three arrays. `density` [X, Y, Z] is what light loses on its way, per metre, never negative. `rgb`
[X, Y, Z, 3] is the colour, 0 to 1, or 0 to 255 as uint8. `bounds` [2, 3] are the lowest and the highest corner of the
whole grid in metres: x runs to the right, y to the back, z upwards, and voxel [0, 0, 0] lies at the lowest corner.

The encoder sees cubes of `size` voxels of one side length, colour and alpha = 1 - exp(-density x side). A smaller
place is filled up beyond its highest corner with voxels that do not count; of a larger one it sees overlapping windows,
or the whole with voxels that are larger. Irshad et al. 2024 (NeRF-MAE), arXiv:2404.01300.
"""
# X Y Z voxels of a file, R of a side of the encoder's cube

import io
import zipfile
import zlib
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from enfold.archives import Packed
from enfold.errors import BadItem, TooLarge
from enfold.modalities import Modality, Part, Sample, Spec, Stored
from enfold.modalities.points import from_above
from enfold.scans import npy

ARRAYS = ("density", "rgb", "bounds")
_HEADER_BYTES = 4096  # in which the header of a .npy file ends
_FARTHEST = 1e6  # metres from 0
_LEAST_SIDE = 1e-3  # metres
_ROUNDING = 1e-6  # share of a voxel that is none
_OVERLAP = 0.5  # share of a window that the next one sees again
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes
_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError)
# Of a place and in voxels, on the three sides nearest to somebody who looks at it: walls and ceiling, if it has any.
_RIM, _RIM_VOXELS = 0.06, 1.5
_STEPS = 128  # of a drawn ray, at most


@dataclass(frozen=True)
class Grid:
    """A decoded field."""

    density: np.ndarray  # float32 [X, Y, Z], per metre
    rgb: np.ndarray  # float32 [X, Y, Z, 3], 0 to 1
    bounds: np.ndarray  # float64 [2, 3], metres

    @property
    def extent(self) -> np.ndarray:
        """Metres along x, y and z, [3]."""
        found: np.ndarray = self.bounds[1] - self.bounds[0]
        return found


class RadiancePreprocess(Spec):
    """From a `Grid` to colour and alpha, float32 [4, R, R, R], and which voxels count, float32 [R, R, R]."""

    size: int = Field(160, ge=4, le=1024)  # voxels a side
    voxel: float = Field(0.05, gt=0)  # metres a side


class RadianceLimits(Spec):
    max_bytes: int = 128 * 2**20
    max_voxels: int = 256**3  # of a file
    max_parts: int = 512


class RadianceJson(BaseModel, extra="forbid"):
    radiance: str = Field(description="the file's bytes (.npz with density, rgb and bounds), base64")


class Radiance(Modality[Grid]):
    name = "radiance"
    media_types = {".npz": "application/x-npz"}
    Preprocess, Limits, Json = RadiancePreprocess, RadianceLimits, RadianceJson

    @property
    def input_size(self) -> int:
        return int(self.preprocess.size)

    def read(self, item: Any) -> Grid:
        """From file bytes, a path or a `Grid`. Raises BadItem or TooLarge."""
        if isinstance(item, Stored):
            return self._checked(*self._decode(self.place(item)))
        if isinstance(item, Grid):
            return self._checked(item.density, item.rgb, item.bounds)
        raise BadItem(f"a radiance field is file bytes, a path or a Grid, not {type(item).__name__}")

    def prepare(self, value: Grid, *, parts: bool = False) -> list[Sample]:
        """Samples {"radiance": float32 [4, R, R, R], "valid": float32 [R, R, R]}; `origin` places them in metres."""
        size, side = self.preprocess.size, self.preprocess.voxel
        if not parts:
            return [self._sample(value, (0, 0, 0), max(side, float(value.extent.max()) / size))]
        counts = [_cells(extent, side) for extent in value.extent]
        windows = [_windows(count, size) for count in counts]
        if np.prod(windows, dtype=float) > self.limits.max_parts:
            raise TooLarge(
                f"windows of {size * side:g} m cut the place into {' x '.join(map(str, windows))} parts; at most "
                f"{self.limits.max_parts:,} are taken: cut out the part you mean"
            )
        corners = list(
            product(
                *(
                    np.linspace(0, max(0, count - size), number).round().astype(int).tolist()
                    for count, number in zip(counts, windows, strict=True)
                )
            )
        )
        if len(corners) == 1:
            return [self._sample(value, corners[0], side)]
        return [self._sample(value, corner, side, Part(index=index)) for index, corner in enumerate(corners)]

    def thumbnail(self, value: Grid, side: int = 96) -> bytes:
        """The place from above, front and right, its nearest walls and ceiling taken off."""
        from PIL import Image

        file = io.BytesIO()
        shown = Image.fromarray((rendered(value, 2 * side) * 255).astype(np.uint8))
        shown.resize((side, side), Image.Resampling.BOX).save(file, "WEBP", quality=85)
        return file.getvalue()

    def _sample(self, grid: Grid, corner: tuple[int, int, int], side: float, part: Part | None = None) -> Sample:
        """The window whose lowest voxel, of so many metres a side, is number `corner` of the place."""
        size = self.preprocess.size
        values, valid = resampled(grid, corner, size, side)
        place = {"corner": grid.bounds[0] + np.array(corner) * side, "spacing": side}
        return Sample({"radiance": values, "valid": valid}, part, origin=place)

    def _decode(self, place: bytes | Path | Packed) -> list[np.ndarray]:
        """The three arrays; of each the header is looked at before its numbers are unpacked."""
        if isinstance(place, Packed):
            place = place.read_bytes()
        try:
            with zipfile.ZipFile(io.BytesIO(place) if isinstance(place, bytes) else place) as archive:
                files = {file.filename: file for file in archive.infolist()}
                missing = [name for name in ARRAYS if f"{name}.npy" not in files]
                if missing:
                    raise BadItem(
                        f"the .npz file has no array '{missing[0]}': a radiance field is {', '.join(ARRAYS)}; save "
                        "it with numpy.savez_compressed"
                    )
                stored = [files[f"{name}.npy"] for name in ARRAYS]
                for name, file in zip(ARRAYS, stored, strict=True):
                    self._check_header(name, archive, file)
                return [npy.open_scan(archive.read(file)).voxels() for file in stored]
        except BadItem:
            raise
        except _DAMAGED as error:
            raise BadItem(f"the .npz file is damaged, cut short or no .npz at all ({error})") from None

    def _check_header(self, name: str, archive: zipfile.ZipFile, file: zipfile.ZipInfo) -> None:
        """Whatever a file is packed to, what it unpacks to is known, and never more than it announces."""
        if file.compress_type not in _PLAIN:
            raise BadItem(f"array '{name}' is packed in a way that numpy never does: save it with numpy.savez")
        with archive.open(file) as opened:
            shape = npy.open_scan(opened.read(_HEADER_BYTES)).shape
        most = self.limits.max_voxels
        count = float(np.prod(shape[:3], dtype=float))
        if count > most or file.file_size > 24 * most + _HEADER_BYTES:  # three numbers of 8 bytes a voxel
            raise TooLarge(
                f"array '{name}' has {' x '.join(map(str, shape))} numbers, {file.file_size:,} bytes; a grid may have "
                f"{most:,} voxels: cut out the part you mean, or sample it more coarsely"
            )

    def _checked(self, density: np.ndarray, rgb: np.ndarray, bounds: np.ndarray) -> Grid:
        for name, array in zip(ARRAYS, (density, rgb, bounds), strict=True):
            if array.dtype.kind not in "iuf":
                raise BadItem(f"array '{name}' is {array.dtype}; plain numbers are needed")
        if density.ndim != 3 or rgb.shape != (*density.shape, 3):
            raise BadItem(
                f"a grid is density [X, Y, Z] and rgb [X, Y, Z, 3] of the same voxels; these are {density.shape} and "
                f"{rgb.shape}"
            )
        if not density.size:
            raise BadItem(f"the grid has no voxels: its density is {' x '.join(map(str, density.shape))}")
        if density.size > self.limits.max_voxels:
            raise TooLarge(f"the grid has {density.size:,} voxels; at most {self.limits.max_voxels:,}")
        with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite, and is told so
            density, colour, bounds = density.astype(np.float32), _unit(rgb), _box(bounds)
        for name, array in (("density", density), ("rgb", colour)):
            if not np.isfinite(array).all():
                where = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
                raise BadItem(f"array '{name}' has a number at {where} that is not finite")
        if density.min() < 0:
            raise BadItem(
                f"the density falls to {density.min():g}; it is 0 or more: save it as the field renders it, after its "
                "activation (ReLU, softplus, exp)"
            )
        if colour.min() < -1e-3 or colour.max() > 1 + 1e-3:
            raise BadItem(
                f"rgb goes from {colour.min():g} to {colour.max():g}; it is 0 to 1, or 0 to 255 as uint8: save it "
                "after its sigmoid"
            )
        if not density.any():
            raise BadItem("the density is 0 everywhere: there is nothing in this place to see")
        return Grid(density, np.clip(colour, 0, 1), bounds)


def resampled(grid: Grid, corner: tuple[int, int, int], size: int, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Colour and alpha float32 [4, R, R, R] and which voxels lie in the place, float32 [R, R, R].

    corner   number of the window's lowest voxel, counted from the lowest corner of the place
    side     of a voxel, metres

    Each of the file's voxels gives to the window's as much as they share of its volume: no light is lost or won. The
    colour of a voxel is that of its matter.
    """
    along = [
        _shares(count, extent, first, size, side)
        for count, extent, first in zip(grid.density.shape, grid.extent, corner, strict=True)
    ]
    density = _spread(grid.density[None], along)[0]
    matter = _spread(np.moveaxis(grid.rgb, -1, 0) * grid.density, along)
    rgb = np.divide(matter, density, out=np.zeros_like(matter), where=density > 0)
    inside = [(shares.sum(1) > 0).astype(np.float32) for shares in along]
    valid = inside[0][:, None, None] * inside[1][:, None] * inside[2]
    alpha = -np.expm1(-density * side)
    return np.concatenate([np.clip(rgb, 0, 1), alpha[None]]).astype(np.float32), valid


def rendered(grid: Grid, side: int) -> np.ndarray:
    """The place on white, seen from far above, front and right, float32 [side, side, 3] in [0, 1].

    Alphas from front to back along parallel rays, as fields are rendered (Max 1995, doi:10.1109/2945.468400).
    """
    right, up, away = from_above(turn=30, tilt=40).T
    half = float(np.linalg.norm(grid.extent)) / 2
    middle = grid.bounds.mean(0)
    at = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(at, -at)
    start = middle + half * (x[..., None] * right + y[..., None] * up - away)  # [side, side, 3]
    shape = np.array(grid.density.shape)
    rim = np.maximum(_RIM, _RIM_VOXELS / shape) * grid.extent
    low, high = grid.bounds[0] + rim * (0, 1, 0), grid.bounds[1] - rim * (1, 0, 1)
    colour, left = np.zeros((side, side, 3), np.float32), np.ones((side, side), np.float32)
    steps = min(2 * int(np.linalg.norm(shape)), _STEPS)
    for step in range(steps):
        place = start + away * (2 * half * (step + 0.5) / steps)
        seen = ((place >= low) & (place < high)).all(-1)
        index = ((place[seen] - grid.bounds[0]) / grid.extent * shape).astype(int)
        i, j, k = np.clip(index, 0, shape - 1).T
        alpha = left[seen] * -np.expm1(-grid.density[i, j, k] * np.float32(2 * half / steps))
        colour[seen] += alpha[:, None] * grid.rgb[i, j, k]
        left[seen] -= alpha
    return np.clip(colour + left[..., None], 0, 1)


def _cells(extent: float, side: float) -> int:
    """Voxels that it takes to fill an extent."""
    return max(1, int(np.ceil(extent / side - _ROUNDING)))


def _windows(count: int, size: int) -> int:
    """How many windows see all voxels along an axis, each at least a share of `_OVERLAP` over the one before."""
    return 1 + int(np.ceil(max(0, count - size) / max(1, size * (1 - _OVERLAP))))


def _shares(count: int, extent: float, first: int, size: int, side: float) -> np.ndarray:
    """[R, count]: how much of each voxel of the encoder each of the file's fills, along one axis."""
    edges, low = np.linspace(0, extent, count + 1), (first + np.arange(size))[:, None] * side
    shared = (np.minimum(low + side, edges[1:]) - np.maximum(low, edges[:-1])) / side
    return np.where(shared > _ROUNDING, shared, 0.0)


def _spread(values: np.ndarray, along: list[np.ndarray]) -> np.ndarray:
    """[C, X, Y, Z] onto [C, R, R, R]."""
    for axis, shares in enumerate(along, 1):
        values = np.moveaxis(np.tensordot(shares, values, (1, axis)), 0, axis)
    return values


def _unit(rgb: np.ndarray) -> np.ndarray:
    """float32, 0 to 1."""
    values = rgb.astype(np.float32)
    return values / np.float32(255) if rgb.dtype == np.uint8 else values


def _box(bounds: np.ndarray) -> np.ndarray:
    """float64 [2, 3], or BadItem."""
    if bounds.shape != (2, 3):
        raise BadItem(f"bounds are [2, 3], the lowest and the highest corner in metres; these are {bounds.shape}")
    found = bounds.astype(np.float64)
    if not np.isfinite(found).all() or np.abs(found).max() > _FARTHEST:
        raise BadItem(f"bounds reach to {np.abs(found).max():.3g} m; at most {_FARTHEST:g} m: is the unit metres?")
    if (found[1] - found[0]).min() < _LEAST_SIDE:
        axis = "xyz"[int(np.argmin(found[1] - found[0]))]
        raise BadItem(
            f"along {axis} the bounds go from {found[0].tolist()} to {found[1].tolist()}; the highest corner lies "
            f"{_LEAST_SIDE:g} m or more beyond the lowest: are they the wrong way round?"
        )
    return found
