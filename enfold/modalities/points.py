"""points: the shape of a thing or a place: PLY, OBJ and STL (surfaces are sampled), XYZ, LAS, LAZ and bare arrays.

A decoded cloud is float64 [M, 3] in the unit of its file, colours left out. The encoder sees so many of its points,
moved to have their mean at 0 and scaled to lie within a distance of 1, as overlapping patches: the nearest neighbours
of centres that lie as far apart as can be. Neither the order of points nor the unit changes anything; turning does.
"""
# M points of a file, N of the encoder, G patches, K points of a patch

import io
import re
import struct
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, model_validator

from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Modality, Part, Sample, Spec, Stored
from enfold.scans import npy

SURFACE_POINTS = 8192  # drawn evenly from a mesh
_HEADER_BYTES = 2**16  # in which the header of a PLY file ends
FARTHEST = 1e15  # from 0, beyond which squares of distances mean nothing
_RECORD_BYTES, _EXTENDED_BYTES = 54, 60  # of a record of a .las before its content


class PointsPreprocess(Spec):
    """From float64 [M, 3] to centres float32 [G, 3] and patches float32 [G, K, 3], relative to their centres."""

    points: int = Field(1024, ge=8)  # of a cloud that are looked at
    patches: int = Field(64, ge=1)
    neighbours: int = Field(32, ge=1)  # points of a patch
    window: float | None = Field(None, gt=0)  # side of the squares over x and y that are parts, in the file's unit

    @model_validator(mode="after")
    def _enough(self) -> "PointsPreprocess":
        if max(self.patches, self.neighbours) > self.points:
            raise ValueError(f"patches and neighbours are at most the {self.points} points")
        return self


class PointsLimits(Spec):
    max_bytes: int = 128 * 2**20
    max_points: int = 5_000_000  # and as many faces
    min_points: int = 8
    max_parts: int = 4096


class PointsJson(BaseModel, extra="forbid"):
    points: str = Field(description="the file's bytes (.ply, .obj, .stl, .xyz, .las, .laz or .npy), base64")


class Points(Modality[np.ndarray]):
    name = "points"
    media_types = {
        ".ply": "application/ply",
        ".obj": "model/obj",
        ".stl": "model/stl",
        ".xyz": "chemical/x-xyz",
        ".las": "application/vnd.las",
        ".laz": "application/vnd.laszip",
    }
    shared_types = {".npy": "application/vnd.numpy"}
    Preprocess, Limits, Json = PointsPreprocess, PointsLimits, PointsJson

    @property
    def input_size(self) -> int:
        return int(self.preprocess.neighbours)

    def read(self, item: Any) -> np.ndarray:
        """float64 [M, 3] from file bytes, a path or an array [M, 3 or more]. Raises BadItem or TooLarge."""
        if isinstance(item, Stored):
            item = self._decode(self.file_bytes(item))
        if not isinstance(item, np.ndarray):
            raise BadItem(f"a cloud is file bytes, a path or an array, not {type(item).__name__}")
        return self._checked(item)

    def prepare(self, value: np.ndarray, *, parts: bool = False) -> list[Sample]:
        """Samples {"centres": float32 [G, 3], "patches": float32 [G, K, 3]}, with `parts` one for each window."""
        if not parts or self.preprocess.window is None:
            return [self._sample(value)]
        found = windows(value, self.preprocess.window, self.limits.min_points, self.limits.max_parts)
        return [self._sample(value[member], part) for member, part in found]

    def thumbnail(self, value: np.ndarray, side: int = 96) -> bytes:
        """The cloud from above and the right, near points dark."""
        from PIL import Image

        turned = normalized(subset(value, 20_000)) @ from_above()  # to the right, upwards, away
        canvas, order = np.full((2 * side, 2 * side), 255, np.uint8), np.argsort(-turned[:, 2])
        place = np.clip((turned[order, :2] * [1, -1] * 0.95 + 1) * side, 0, 2 * side - 2).astype(int)
        shade = np.interp(turned[order, 2], (-1, 1), (30, 200)).astype(np.uint8)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            canvas[place[:, 1] + dy, place[:, 0] + dx] = shade
        file = io.BytesIO()
        Image.fromarray(canvas).resize((side, side), Image.Resampling.BOX).save(file, "WEBP", quality=85)
        return file.getvalue()

    def _sample(self, cloud: np.ndarray, part: Part | None = None) -> Sample:
        spec = self.preprocess
        seen = normalized(subset(cloud, spec.points))
        centres, patches = grouped(seen, spec.patches, spec.neighbours)
        return Sample({"centres": centres, "patches": patches}, part, origin={"centre": cloud.mean(0)})

    def _checked(self, cloud: np.ndarray) -> np.ndarray:
        if cloud.dtype.kind not in "iuf" or cloud.ndim != 2 or cloud.shape[1] < 3:
            raise BadItem(f"a cloud is numbers [M, 3]: x, y, z of each point; this one is {cloud.dtype} {cloud.shape}")
        if len(cloud) > self.limits.max_points:
            raise TooLarge(
                f"the cloud has {len(cloud):,} points; at most {self.limits.max_points:,}: cut it into tiles"
            )
        if len(cloud) < self.limits.min_points:
            raise BadItem(f"the cloud has {len(cloud)} points; a shape needs {self.limits.min_points} or more")
        found = cloud[:, :3].astype(np.float64)
        if not np.isfinite(found).all():
            raise BadItem(
                f"point {int(np.argmin(np.isfinite(found).all(1)))} of the cloud has a place that is not finite"
            )
        if np.abs(found).max() > FARTHEST:
            raise BadItem(f"the cloud reaches to {np.abs(found).max():.3g}; {FARTHEST:g} is the most: is it damaged?")
        if not np.ptp(found, axis=0).any():
            raise BadItem("all points of the cloud lie at one place: it has no shape")
        return found

    def _decode(self, data: bytes) -> np.ndarray:
        """By its first bytes: a file may come without a name."""
        if data.startswith(npy.MAGIC):
            return self._array(data)
        if data.startswith(b"LASF"):
            return self._las(data)
        if re.match(rb"ply\s", data):
            self._check_ply(data)
            return self._mesh(data, "ply")
        if _is_stl(data):
            return self._mesh(data, "stl")
        if re.search(rb"^v\s", data[:_HEADER_BYTES], re.MULTILINE):
            return self._mesh(data, "obj")
        return _table(data)

    def _mesh(self, data: bytes, kind: str) -> np.ndarray:
        """Points of the file, or points drawn evenly from its surface if it has one."""
        trimesh = require("trimesh", "points", f"reading a .{kind} file")
        try:
            found = trimesh.load(io.BytesIO(data), file_type=kind, process=False, maintain_order=True)
            found = found.to_geometry() if isinstance(found, trimesh.Scene) else found
            faces = getattr(found, "faces", ())
            if len(faces) > self.limits.max_points:
                raise TooLarge(f"the surface has {len(faces):,} faces; at most {self.limits.max_points:,}: simplify it")
            if not len(faces):
                return np.asarray(found.vertices)
            self._checked(np.asarray(found.vertices))
            if not found.area > 0:
                raise BadItem(f"the surface of the .{kind} file has no area")
            return np.asarray(trimesh.sample.sample_surface(found, SURFACE_POINTS, seed=0)[0])
        except BadItem:
            raise
        except Exception as error:  # its loaders raise whatever the bytes lead them to
            raise BadItem(f"the .{kind} file is damaged, cut short or not understood ({error})") from None

    def _check_ply(self, data: bytes) -> None:
        """A header may announce more than a memory holds."""
        header = data[:_HEADER_BYTES].partition(b"end_header")[0]
        for name, count in re.findall(rb"^element\s+(\w+)\s+(\d+)", header, re.MULTILINE):
            if int(count) > self.limits.max_points:
                raise TooLarge(
                    f"the .ply file announces {int(count):,} of '{name.decode(errors='replace')}'; "
                    f"at most {self.limits.max_points:,}"
                )

    def _las(self, data: bytes) -> np.ndarray:
        laspy = require("laspy", "points", "reading a .las or .laz file")
        try:
            _check_records(data)
            with laspy.open(io.BytesIO(data)) as file:
                if file.header.point_count > self.limits.max_points:
                    raise TooLarge(
                        f"the scan has {file.header.point_count:,} points; at most {self.limits.max_points:,}: "
                        "cut it into tiles"
                    )
                if file.header.are_points_compressed:
                    _check_chunks(data, file.header.offset_to_point_data)
                return np.asarray(file.read().xyz)
        except BadItem:
            raise
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # laspy raises whatever; a panic within lazrs is no Exception
            raise BadItem(f"the .las file is damaged or cut short ({error})") from None

    def _array(self, data: bytes) -> np.ndarray:
        array = npy.open_scan(data)
        if array.shape and array.shape[0] > self.limits.max_points:
            raise TooLarge(
                f"the cloud has {array.shape[0]:,} points; at most {self.limits.max_points:,}: cut it into tiles"
            )
        return array.voxels()


def _check_records(data: bytes) -> None:
    """laspy reads as many variable length records as the header of a .las says, be there four thousand million."""
    [records] = struct.unpack_from("<I", data, 100)
    [extended] = struct.unpack_from("<I", data, 243) if data[25] >= 4 else [0]  # from version 1.4 on
    if records * _RECORD_BYTES + extended * _EXTENDED_BYTES > len(data):
        raise BadItem(f"the .las file is damaged: {records + extended:,} records in {len(data):,} bytes")


def _check_chunks(data: bytes, start: int) -> None:
    """lazrs makes room for as many chunks as the table of a .laz says, and ends the process where there is none."""
    [table] = struct.unpack_from("<q", data, start)
    if table == -1:  # written by one who could not go back: it stands at the end
        [table] = struct.unpack_from("<q", data, len(data) - 8)
    _, chunks = struct.unpack_from("<II", data, table)
    if chunks > len(data):
        raise BadItem(f"the .laz file is damaged: {chunks:,} chunks in {len(data):,} bytes")


def windows(cloud: np.ndarray, side: float, fewest: int, most: int) -> list[tuple[np.ndarray, Part | None]]:
    """What of a cloud [M, 3 or more] lies in each square of a grid over x and y, and which part that is.

    fewest   of the points that make a part; what holds fewer is left out
    most     of the parts
    returns  indices and part of each; one that is all there is has no part. Raises TooLarge.
    """
    corner = cloud[:, :2].min(0)
    cells, member = np.unique((cloud[:, :2] - corner) // side, axis=0, return_inverse=True)
    order, counts = np.argsort(member.reshape(-1), kind="stable"), np.bincount(member.reshape(-1))
    full = np.flatnonzero(counts >= fewest)
    if not 0 < len(full) <= most:
        raise TooLarge(
            f"windows of {side:g} cut the cloud into {len(full)} pieces of {fewest} points or more; "
            f"1 to {most} are taken"
        )
    members = np.split(order, np.cumsum(counts)[:-1])
    if len(full) == 1:
        return [(members[full[0]], None)]
    lows = corner + cells[full] * side
    boxes = [np.floor([*low, *(low + side)]).astype(int).tolist() for low in lows]
    return [(members[cell], Part(index=index, box=tuple(boxes[index]))) for index, cell in enumerate(full)]


def subset(cloud: np.ndarray, count: int) -> np.ndarray:
    """`count` points drawn from [M, 3], the same whatever their order; fewer are repeated."""
    ordered = cloud[np.lexsort(cloud.T[::-1])]
    if len(ordered) <= count:
        return np.resize(ordered, (count, 3))
    return ordered[np.sort(np.random.default_rng(0).choice(len(ordered), count, replace=False))]


def normalized(cloud: np.ndarray) -> np.ndarray:
    """[N, 3] with its mean at 0 and its farthest point at distance 1."""
    centred = cloud - cloud.mean(0)
    return centred / max(float(np.linalg.norm(centred, axis=1).max()), 1e-300)


def grouped(cloud: np.ndarray, patches: int, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres float32 [G, 3] and the nearest points of each, less the centre, float32 [G, K, 3], nearest first."""
    centres, near = nearest(cloud, patches, neighbours)
    return cloud[centres].astype(np.float32), (cloud[near] - cloud[centres, None]).astype(np.float32)


def nearest(cloud: np.ndarray, patches: int, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of [N, columns] that are centres [G], and those nearest to each, nearest first [G, K]."""
    centres = farthest(cloud, patches)
    distance = ((cloud[centres, None] - cloud) ** 2).sum(2)  # [G, N]
    return centres, np.argsort(distance, axis=1, kind="stable")[:, :neighbours]


def farthest(cloud: np.ndarray, count: int) -> np.ndarray:
    """Rows of [N, columns] that lie far apart: each the farthest from all before it, the first from the mean.

    Qi et al. 2017 (PointNet++), arXiv:1706.02413.
    """
    chosen = np.empty(count, np.int64)
    near = np.full(len(cloud), np.inf)
    chosen[0] = int(((cloud - cloud.mean(0)) ** 2).sum(1).argmax())
    for number in range(1, count):
        near = np.minimum(near, ((cloud - cloud[chosen[number - 1]]) ** 2).sum(1))
        chosen[number] = int(near.argmax())
    return chosen


def from_above(turn: float = 35, tilt: float = 25) -> np.ndarray:
    """From x, y, z (z upwards) to the right, up and away of somebody who looks down from the front and right.

    turn, tilt   of the look, in degrees
    """
    turn, tilt = np.deg2rad(turn), np.deg2rad(tilt)
    right = np.array([np.cos(turn), np.sin(turn), 0])
    away = np.array([-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), -np.sin(tilt)])
    return np.stack([right, np.cross(right, away), away], 1)


def _is_stl(data: bytes) -> bool:
    if len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        return True
    return data.startswith(b"solid") and b"facet" in data[:_HEADER_BYTES]


def _table(data: bytes) -> np.ndarray:
    """Lines of x, y, z and whatever else, apart by blanks or commas."""
    try:
        lines = data.decode("ascii").replace(",", " ").splitlines()
        rows = [line.split()[:3] for line in lines if line.strip() and not line.lstrip().startswith(("#", "//"))]
        return np.array(rows, np.float64).reshape(-1, 3)
    except (UnicodeDecodeError, ValueError):
        raise BadItem(
            "these bytes are no PLY, OBJ, STL, LAS, LAZ, .npy or XYZ cloud, or the file is cut short"
        ) from None
