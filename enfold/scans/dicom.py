"""DICOM, by pydicom: one file with a slice or with frames, or a series of files with a slice each.

Slices are put in order by where they lie, never by their names or numbers, and must lie evenly apart.
"""
# F slices, R rows, C columns

import io
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from enfold.errors import BadItem, require
from enfold.scans import LEFT_BACK_TOP, Scan

MAGIC, MAGIC_AT = b"DICM", 128
_DEFLATED = b"1.2.840.10008.1.2.1.99"  # a transfer syntax that is unpacked whole before anything of it is known
_ALIKE = 1e-3  # of unit vectors, and of spacings as a share
_UNEVEN = 0.1  # of the distance between slices: what rounding and a moving table leave
_SAME_PLACE = 1e-3  # mm

Group = Any  # a pydicom data set, or one that is nested in it


@dataclass(frozen=True)
class Slice:
    """Where one slice lies, and what its numbers mean."""

    name: str  # for sentences
    series: str
    shape: tuple[int, int]  # R, C
    corner: np.ndarray  # [3] mm to the left, back and top, of the middle of the first pixel
    axes: np.ndarray  # [2, 3], unit vectors along a row and down a column
    spacing: tuple[float, float]  # mm between columns, between rows
    thickness: float
    slope: float
    intercept: float

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.axes)


def open_file(data: bytes) -> Scan:
    """Of one slice, or of several frames whose places the file tells. Raises BadItem."""
    name = "the DICOM file"
    slices = _slices(_header(data, name), name)
    return _scan(slices, lambda order: _frames(data, name, (len(slices), *slices[0].shape))[order])


def open_series(files: Mapping[str, Callable[[], bytes]]) -> Scan:
    """Of files with a slice each, by name. Every header is read, no two files are held at once. Raises BadItem."""
    slices, readers = [], list(files.values())
    for name, read in files.items():
        found = _slices(_header(read(), name), name)
        if len(found) > 1:
            raise BadItem(f"{name} is a volume of its own with {len(found)} frames: send it alone")
        slices += found
    return _scan(slices, lambda order: (_frames(readers[i](), slices[i].name, slices[i].shape) for i in order))


def _scan(slices: list[Slice], stored: Callable[[list[int]], Iterable[np.ndarray]]) -> Scan:
    """stored   which slices -> what the file says in their pixels, [R, C] each"""
    order, step = _in_order(slices)
    first = slices[order[0]]
    (across, down), (rows, columns) = first.spacing, first.shape
    affine = np.eye(4)
    affine[:3] = np.stack([first.axes[0] * across, first.axes[1] * down, step, first.corner], 1)
    shape = (columns, rows, len(slices))

    def voxels() -> np.ndarray:
        whole = np.empty(shape, np.float32)
        for at, (i, pixels) in enumerate(zip(order, stored(order), strict=True)):
            whole[:, :, at] = pixels.T * slices[i].slope + slices[i].intercept
        return whole

    return Scan(shape, LEFT_BACK_TOP @ affine, voxels)


def _in_order(slices: list[Slice]) -> tuple[list[int], np.ndarray]:
    """From first to last along the normal, and the way from one to the next [3], mm. Raises BadItem."""
    first = slices[0]
    if (count := len({one.series for one in slices})) > 1:
        raise BadItem(f"the slices are of {count} series: put each series into a folder or .zip of its own")
    for one in slices[1:]:
        if one.shape != first.shape:
            seen = " and ".join(f"{slice.shape[1]} x {slice.shape[0]}" for slice in (first, one))
            raise BadItem(f"slices of {seen} pixels ({first.name}, {one.name}): a volume's are all of one size")
        if not np.allclose(one.axes, first.axes, atol=_ALIKE):
            raise BadItem(f"{first.name} and {one.name} are turned differently: a volume's slices are parallel")
        if not np.allclose(one.spacing, first.spacing, rtol=_ALIKE):
            raise BadItem(f"{first.name} and {one.name} have pixels of different size in millimetres")
    corners = np.stack([one.corner for one in slices])  # [F, 3]
    heights = corners @ first.normal
    order = np.argsort(heights, kind="stable").tolist()
    if len(slices) == 1:
        return order, first.normal * first.thickness
    apart = np.diff(heights[order])
    if apart.min() < _SAME_PLACE:
        twice = int(apart.argmin())
        names = " and ".join(slices[order[at]].name for at in (twice, twice + 1))
        raise BadItem(f"{names} lie at one place: leave one out, or send the times or echoes of a scan one by one")
    step = (corners[order[-1]] - corners[order[0]]) / (len(slices) - 1)
    wanted = corners[order[0]] + np.arange(len(slices))[:, None] * step
    if np.linalg.norm(corners[order] - wanted, axis=1).max() > _UNEVEN * np.linalg.norm(step):
        raise BadItem(
            f"slices lie {apart.min():.4g} to {apart.max():.4g} mm apart, or out of line: some are missing, or they "
            "are of several scans"
        )
    return order, step


def _header(data: bytes, name: str) -> Group:
    pydicom = require("pydicom", "volume", "reading a DICOM file")
    if data[MAGIC_AT : MAGIC_AT + len(MAGIC)] != MAGIC:
        raise BadItem(f"{name} is no DICOM file, or its beginning is missing")
    if _DEFLATED in data:
        raise BadItem(f"{name} is deflated as a whole, which is not read: save it with another transfer syntax")
    try:
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    except _broken() as error:
        raise BadItem(f"the header of {name} is broken ({error})") from None


def _slices(header: Group, name: str) -> list[Slice]:
    """One for each frame. Raises BadItem."""
    try:
        if header.get("SamplesPerPixel", 1) != 1 or "MONOCHROME" not in header.get("PhotometricInterpretation", ""):
            raise BadItem(f"{name} holds no picture, or one in colours: a volume has one number for each voxel")
        if "ModalityLUTSequence" in header:
            raise BadItem(f"{name} tells what its numbers mean by a table, which is not read: save plain values")
        frames = int(header.get("NumberOfFrames") or 1)
        groups = header.get("PerFrameFunctionalGroupsSequence") or ()
        if len(groups) == frames:
            shared = (header.get("SharedFunctionalGroupsSequence") or [header])[0]
            return [_slice((group, shared, header), name) for group in groups]
        first = _slice((header,), name)
        heights: Sequence[Any] = header.get("GridFrameOffsetVector") or ()
        if frames > 1 and len(heights) != frames:
            raise BadItem(f"{name} has {frames} frames and does not say where each lies: it is a film, or no volume")
        lifts = [float(height) - float(heights[0]) for height in heights] or [0.0]
        return [replace(first, corner=first.corner + lift * first.normal) for lift in lifts]
    except _broken() as error:
        raise BadItem(f"the header of {name} makes no sense ({error})") from None


def _slice(groups: tuple[Group, ...], name: str) -> Slice:
    """groups   that may state a fact, nearest first: the frame's, all frames', the file"""

    def fact(sequence: str, keyword: str) -> Any:
        for group in groups:
            nested = group.get(sequence)
            value = (nested[0] if nested else group).get(keyword)
            if value is not None:
                return value
        return None

    header = groups[-1]
    corner, axes = (
        fact("PlanePositionSequence", "ImagePositionPatient"),
        fact("PlaneOrientationSequence", "ImageOrientationPatient"),
    )
    spacing = fact("PixelMeasuresSequence", "PixelSpacing")
    if corner is None or axes is None or spacing is None:
        raise BadItem(f"{name} does not say where its picture lies in the body: it is no slice of a volume")
    down, across = (float(value) for value in spacing)
    found = Slice(
        name=name,
        series=str(header.get("SeriesInstanceUID", "")),
        shape=(int(header.Rows), int(header.Columns)),
        corner=np.array([float(value) for value in corner]).reshape(3),
        axes=np.array([float(value) for value in axes]).reshape(2, 3),
        spacing=(across, down),
        thickness=float(fact("PixelMeasuresSequence", "SliceThickness") or 1),
        slope=float(fact("PixelValueTransformationSequence", "RescaleSlope") or header.get("DoseGridScaling") or 1),
        intercept=float(fact("PixelValueTransformationSequence", "RescaleIntercept") or 0),
    )
    if not np.allclose(found.axes @ found.axes.T, np.eye(2), atol=0.01):
        raise BadItem(f"the rows and columns of {name} do not stand upright on each other: repair its orientation")
    if not np.isfinite([*found.corner, found.slope, found.intercept]).all():
        raise BadItem(f"the place or the scale of {name} is no finite number")
    return found


def _frames(data: bytes, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels as stored, [R, C] or [F, R, C]."""
    pydicom = require("pydicom", "volume", "reading a DICOM file")
    try:
        found: np.ndarray = pydicom.dcmread(io.BytesIO(data)).pixel_array.reshape(shape)
    except _broken() as error:
        raise BadItem(f"the pixels of {name} are damaged, cut short or packed as is not read here ({error})") from None
    return found


def _broken() -> tuple[type[Exception], ...]:
    """What pydicom raises where a file makes no sense to it."""
    errors = require("pydicom.errors", "volume", "reading a DICOM file")
    own = (errors.InvalidDicomError, errors.BytesLengthException)
    plain = (ValueError, KeyError, AttributeError, TypeError, IndexError, OSError, EOFError, OverflowError)
    return (*own, *plain, NotImplementedError, RuntimeError, struct.error)
