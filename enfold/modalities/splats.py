"""splats: a thing as 3-D Gaussians that are fitted to pictures of it, as 3D Gaussian splatting writes them (.ply).

A decoded set is float64 [M, 14], a row for each Gaussian; COLUMNS says which columns are what, and in which unit. Files
hold the logit of the opacity and the natural logarithm of the scales; rotations are quaternions, w first; of the colour
the constant part (spherical harmonics of degree 0) is read, what depends on the direction of sight is left out.

The encoder sees so many of them, drawn with replacement, each attribute brought to about [-1, 1], as overlapping
groups: the nearest neighbours of centres that lie as far apart as can be. Neither the order of Gaussians nor the unit
of length changes anything; turning does.
"""
# M Gaussians of a file, N drawn ones, G groups, O candidates of a group, C columns that are looked at

import io
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator

from enfold.errors import BadItem, TooLarge
from enfold.modalities import Modality, Part, Sample, Spec, Stored
from enfold.modalities.points import FARTHEST, from_above, nearest, windows

Attribute = Literal["xyz", "opacity", "scale", "rotation", "sh"]
COLUMNS: dict[Attribute, slice] = {
    "xyz": slice(0, 3),  # of the centre, in the file's unit
    "opacity": slice(3, 4),  # 0 to 1
    "scale": slice(4, 7),  # standard deviations along the Gaussian's own axes, in the file's unit
    "rotation": slice(7, 11),  # unit quaternion w, x, y, z from its axes to the file's, w not below 0
    "sh": slice(11, 14),  # red, green and blue: (shade - 0.5) / SHADE, shades 0 to 1
}
PROPERTIES = (  # of a .ply file, in the order of the columns
    *("x", "y", "z", "opacity", "scale_0", "scale_1", "scale_2"),
    *("rot_0", "rot_1", "rot_2", "rot_3", "f_dc_0", "f_dc_1", "f_dc_2"),
)
SHADE = 0.28209479177387814  # the spherical harmonic of degree 0, 1 / (2 sqrt(pi))
BLUR = 0.3  # variance in square pixels that a drawn Gaussian has at least (Kerbl et al. 2023, arXiv:2308.04079)
DRAWN = 4096  # Gaussians of a thumbnail
_HEADER_BYTES = 2**16  # in which the header of a .ply file ends
_FLAT = np.sqrt(3) / 2  # length of the longest vector of three clipped shades
_OLD_TYPES = ("char", "uchar", "short", "ushort", "int", "uint", "float", "double")
_NEW_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
_CODES = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")
_TYPES = dict(zip(_OLD_TYPES + _NEW_TYPES, 2 * _CODES, strict=True))


class SplatsPreprocess(Spec):
    """From float64 [M, 14] to centres float32 [G, C] and patches float32 [G, O, C], their places relative to them."""

    splats: int = Field(1024, ge=8)  # drawn with replacement
    patches: int = Field(64, ge=1)
    neighbours: int = Field(40, ge=1)  # candidates of a patch, nearest first
    attributes: tuple[Attribute, ...] = tuple(COLUMNS)  # that are looked at, in this order
    grouped_by: Literal["place", "attributes"] = "attributes"  # what nearness is: of centres, or of all columns
    window: float | None = Field(None, gt=0)  # side of the squares over x and y that are parts, in the file's unit

    @model_validator(mode="after")
    def _fits(self) -> "SplatsPreprocess":
        if max(self.patches, self.neighbours) > self.splats:
            raise ValueError(f"patches and neighbours are at most the {self.splats} splats")
        if (
            self.attributes != tuple(name for name in COLUMNS if name in self.attributes)
            or "xyz" not in self.attributes
        ):
            raise ValueError(f"attributes are 'xyz' and some of the others, once each, in this order: {list(COLUMNS)}")
        return self

    @property
    def columns(self) -> dict[Attribute, slice]:
        """Where each attribute stands among the C columns that the encoder sees."""
        ends = np.cumsum([width(name) for name in self.attributes]).tolist()
        return {name: slice(end - width(name), end) for name, end in zip(self.attributes, ends, strict=True)}


class SplatsLimits(Spec):
    max_bytes: int = 512 * 2**20
    max_splats: int = 2_000_000
    min_splats: int = 8
    max_parts: int = 4096


class SplatsJson(BaseModel, extra="forbid"):
    splats: str = Field(description="the bytes of a Gaussian splatting file (.ply), base64")


@dataclass(frozen=True, slots=True)
class Frame:
    """What normalising took away, so that it can be given back."""

    centre: np.ndarray  # [3], the mean place
    radius: float  # the farthest from it
    scale_mean: np.ndarray  # [3], of scales in units of the radius
    scale_reach: float  # the longest vector of scales less their mean


class Splats(Modality[np.ndarray]):
    name = "splats"
    media_types = {}
    shared_types = {".ply": "application/ply"}
    Preprocess, Limits, Json = SplatsPreprocess, SplatsLimits, SplatsJson

    @property
    def input_size(self) -> int:
        """Columns of a Gaussian."""
        return sum(width(name) for name in self.preprocess.attributes)

    def read(self, item: Any) -> np.ndarray:
        """float64 [M, 14] from file bytes, a path or an array of such rows. Raises BadItem or TooLarge."""
        if isinstance(item, Stored):
            item = self._decode(self.file_bytes(item))
        if not isinstance(item, np.ndarray):
            raise BadItem(f"splats are file bytes, a path or an array, not {type(item).__name__}")
        return self._checked(item)

    def prepare(self, value: np.ndarray, *, parts: bool = False) -> list[Sample]:
        """Samples {"centres": float32 [G, C], "patches": float32 [G, O, C]}, with `parts` one for each window."""
        if not parts or self.preprocess.window is None:
            return [self._sample(value)]
        found = windows(value, self.preprocess.window, self.limits.min_splats, self.limits.max_parts)
        return [self._sample(value[member], part) for member, part in found]

    def thumbnail(self, value: np.ndarray, side: int = 96) -> bytes:
        """The thing from above and the right, on white, as a viewer of splats draws it."""
        from PIL import Image

        drawn = _thinned(value, DRAWN)
        away = drawn[:, :3] - np.median(drawn[:, :3], axis=0)
        distance = np.linalg.norm(away, axis=1)
        # A capture has strays far from what it shows: they may leave the picture.
        reach = max(float(np.percentile(distance, 99)) or float(distance.max()), 1e-100) / 0.95
        drawn[:, :3], drawn[:, 4:7] = np.clip(away / reach, -100, 100), np.minimum(drawn[:, 4:7] / reach, 100)
        picture = rendered(drawn, from_above(), side)
        shades = picture[..., :3] + (1 - picture[..., 3:])
        file = io.BytesIO()
        Image.fromarray((np.clip(shades, 0, 1) * 255).round().astype(np.uint8)).save(file, "WEBP", quality=85)
        return file.getvalue()

    def _sample(self, value: np.ndarray, part: Part | None = None) -> Sample:
        spec = self.preprocess
        columns, frame = normalized(redrawn(value, spec.splats, np.random.default_rng(0)))
        centres, patches = patched(columns, spec)
        return Sample({"centres": centres, "patches": patches}, part, origin={"frame": frame})

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        if rows.dtype.kind not in "iuf" or rows.ndim != 2 or rows.shape[1] != len(PROPERTIES):
            raise BadItem(
                f"splats are numbers [M, {len(PROPERTIES)}]: place, opacity, scale, rotation and colour of each; these "
                f"are {rows.dtype} {rows.shape}"
            )
        if len(rows) > self.limits.max_splats:
            raise TooLarge(self._too_many(len(rows)))
        if len(rows) < self.limits.min_splats:
            raise BadItem(f"there are {len(rows)} splats; a shape needs {self.limits.min_splats} or more")
        found = rows.astype(np.float64)
        whole = np.isfinite(found)
        if not whole.all():
            row, column = np.argwhere(~whole)[0]
            raise BadItem(f"splat {row} has a '{PROPERTIES[column]}' that is not finite")
        for what in ("xyz", "scale"):
            if (far := np.abs(found[:, COLUMNS[what]]).max()) > FARTHEST:
                raise BadItem(f"the splats reach to {far:.3g} by {what}; {FARTHEST:g} is the most: is it damaged?")
        if not np.ptp(found[:, :3], axis=0).any():
            raise BadItem("all splats lie at one place: they have no shape")
        opacity, scale = found[:, COLUMNS["opacity"]], found[:, COLUMNS["scale"]]
        if opacity.min() < 0 or opacity.max() > 1 or scale.min() < 0:
            raise BadItem("opacities are from 0 to 1 and scales not below 0, once logit and logarithm are undone")
        found[:, COLUMNS["rotation"]] = _unit(found[:, COLUMNS["rotation"]])
        return found

    def _decode(self, data: bytes) -> np.ndarray:
        """Rows [M, 14] of a .ply file, logit and logarithm undone."""
        header, body = _split(data)
        kind, count, fields = _announced(header)
        missing = [name for name in PROPERTIES if name not in fields]
        if missing:
            raise BadItem(
                f"the .ply file lacks {', '.join(missing)}: splats have {', '.join(PROPERTIES)}; a cloud of bare "
                "points is for a model of points"
            )
        if count > self.limits.max_splats:
            raise TooLarge(self._too_many(count))
        rows = _text(body, count, fields) if kind == "ascii" else _binary(body, count, fields, kind)
        with np.errstate(over="ignore"):  # what is endless then is refused by name
            rows[:, COLUMNS["opacity"]] = 1 / (1 + np.exp(-rows[:, COLUMNS["opacity"]]))
            rows[:, COLUMNS["scale"]] = np.exp(rows[:, COLUMNS["scale"]])
        return rows

    def _too_many(self, count: int) -> str:
        return (
            f"there are {count:,} splats; at most {self.limits.max_splats:,} are read: cut them into tiles, or prune "
            "those that are hardly seen"
        )


def width(attribute: Attribute) -> int:
    """How many columns it has."""
    return COLUMNS[attribute].stop - COLUMNS[attribute].start


def redrawn(splats: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` rows drawn from [M, 14] with replacement, whatever order they come in."""
    drawn = np.sort(rng.integers(len(splats), size=count))
    order = np.lexsort(splats[:, 2::-1].T)
    place = splats[order, :3]
    if (place[1:] == place[:-1]).all(1).any():  # sorting by all columns takes five times as long
        order = np.lexsort(splats.T[::-1])
    return splats[order[drawn]]


def normalized(splats: np.ndarray) -> tuple[np.ndarray, Frame]:
    """[N, 14] with every attribute in about [-1, 1], and what it takes to undo that.

    xyz       mean at 0, the farthest at a distance of 1
    opacity   2 o - 1
    scale     in units of that distance, less the mean over the set, the longest of length 1
    rotation  as it is
    sh        shades less 0.5, clipped to +-0.5, so that the longest has length 1
    """
    place, scale = splats[:, COLUMNS["xyz"]], splats[:, COLUMNS["scale"]]
    centre = place.mean(0)
    radius = max(float(np.linalg.norm(place - centre, axis=1).max()), 1e-100)
    mean = scale.mean(0) / radius
    reach = max(float(np.linalg.norm(scale / radius - mean, axis=1).max()), 1e-12)
    found = splats.copy()
    found[:, COLUMNS["xyz"]] = (place - centre) / radius
    found[:, COLUMNS["opacity"]] = 2 * splats[:, COLUMNS["opacity"]] - 1
    found[:, COLUMNS["scale"]] = (scale / radius - mean) / reach
    found[:, COLUMNS["sh"]] = np.clip(SHADE * splats[:, COLUMNS["sh"]], -0.5, 0.5) / _FLAT
    return found, Frame(centre, radius, mean, reach)


def restored(columns: np.ndarray, frame: Frame) -> np.ndarray:
    """Splats [N, 14] of normalised columns: what `normalized` did, undone; scales are not below a thousandth."""
    found = columns.astype(np.float64)
    found[:, COLUMNS["xyz"]] = found[:, COLUMNS["xyz"]] * frame.radius + frame.centre
    found[:, COLUMNS["opacity"]] = np.clip((found[:, COLUMNS["opacity"]] + 1) / 2, 0, 1)
    scale = found[:, COLUMNS["scale"]] * frame.scale_reach + frame.scale_mean
    found[:, COLUMNS["scale"]] = np.maximum(scale, 1e-3) * frame.radius
    found[:, COLUMNS["sh"]] = found[:, COLUMNS["sh"]] * _FLAT / SHADE
    return found


def patched(columns: np.ndarray, spec: SplatsPreprocess) -> tuple[np.ndarray, np.ndarray]:
    """Centres float32 [G, C] of normalised columns [N, 14], and patches float32 [G, O, C] of the nearest to each.

    Places in a patch are relative to its centre's, all other attributes as they are.
    """
    seen = np.concatenate([columns[:, COLUMNS[name]] for name in spec.attributes], 1)
    near = seen[:, :3] if spec.grouped_by == "place" else seen
    centres, members = nearest(near, spec.patches, spec.neighbours)
    patches = seen[members]
    patches[..., :3] -= seen[centres, None, :3]
    return seen[centres].astype(np.float32), patches.astype(np.float32)


def rotations(quaternions: np.ndarray) -> np.ndarray:
    """Matrices [M, 3, 3] of unit quaternions w, x, y, z."""
    w, x, y, z = quaternions.T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], 1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], 1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], 1),
        ],
        1,
    )


def rendered(splats: np.ndarray, view: np.ndarray, side: int) -> np.ndarray:
    """A picture of splats [M, 14] that lie within 1 of 0, seen from far away.

    view     [3, 3]  columns point to the right, upwards and away
    returns  [side, side, 4]  red, green, blue and opacity, the first three times the last; the background is 0

    The nearest first, each over what lies behind it.
    Zwicker et al. 2001 (EWA splatting), doi:10.1109/VISUAL.2001.964490.
    """
    half = side / 2
    place = splats[:, :3] @ view
    axes = (rotations(splats[:, COLUMNS["rotation"]]) * splats[:, None, COLUMNS["scale"]]).transpose(0, 2, 1) @ view
    flat = np.einsum("mki,mkj->mij", axes[..., :2], axes[..., :2]) * half**2 + BLUR * np.eye(2)  # in pixels
    inverse = np.linalg.inv(flat * [[1, -1], [-1, 1]])  # rows of a picture run downwards
    at = place[:, :2] * [half, -half] + half - 0.5
    reach = 3 * np.sqrt(np.stack([flat[:, 0, 0], flat[:, 1, 1]], 1))
    low = np.clip(np.ceil(at - reach), 0, side).astype(int)
    high = np.clip(np.floor(at + reach) + 1, 0, side).astype(int)
    shades = np.clip(0.5 + SHADE * splats[:, COLUMNS["sh"]], 0, 1)
    picture, left = np.zeros((side, side, 4)), np.ones((side, side))
    for i in np.argsort(place[:, 2], kind="stable"):
        (x0, y0), (x1, y1) = low[i], high[i]
        dx, dy = np.arange(x0, x1) - at[i, 0], (np.arange(y0, y1) - at[i, 1])[:, None]
        (a, b), (_, c) = inverse[i]
        cover = splats[i, 3] * np.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
        weight = left[y0:y1, x0:x1] * cover
        picture[y0:y1, x0:x1, :3] += weight[..., None] * shades[i]
        picture[y0:y1, x0:x1, 3] += weight
        left[y0:y1, x0:x1] -= weight
    return picture


def ply(splats: np.ndarray) -> bytes:
    """A .ply file of splats [M, 14], as viewers of 3D Gaussian splatting read it; normals, which they skip, are 0."""
    rows = splats.astype(np.float64)
    opacity = np.clip(rows[:, COLUMNS["opacity"]], 1e-6, 1 - 1e-6)
    rows[:, COLUMNS["opacity"]] = np.log(opacity / (1 - opacity))
    rows[:, COLUMNS["scale"]] = np.log(np.maximum(rows[:, COLUMNS["scale"]], 1e-30))
    order = ("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", *PROPERTIES[4:11])
    table = np.zeros(len(rows), [(name, "<f4") for name in order])
    for column, name in enumerate(PROPERTIES):
        table[name] = rows[:, column]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    lines += [f"property float {name}" for name in order]
    return "\n".join([*lines, "end_header", ""]).encode() + table.tobytes()


def _unit(turn: np.ndarray) -> np.ndarray:
    """Quaternions [M, 4] of any length as unit ones, w not below 0: both signs are one rotation. Raises BadItem."""
    length = np.linalg.norm(turn, axis=1, keepdims=True)
    if not (length > 0).all():
        raise BadItem(f"splat {int(np.argmin(length))} has a rotation of length 0, which turns nothing")
    if not (length <= FARTHEST).all():
        raise BadItem(f"splat {int(np.argmax(length))} has a rotation of length {length.max():.3g}: is it damaged?")
    return turn / np.where(turn[:, :1] < 0, -length, length)


def _thinned(splats: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of them, those that are left as much larger as it takes to cover what all did."""
    if len(splats) <= count:
        return splats.copy()
    found = splats[np.sort(np.random.default_rng(0).choice(len(splats), count, replace=False))]
    found[:, COLUMNS["scale"]] *= np.sqrt(len(splats) / count)
    return found


def _split(data: bytes) -> tuple[list[str], bytes]:
    """Lines of the header, and what follows it."""
    if not re.match(rb"ply\s", data):
        raise BadItem("these bytes are no .ply file, the form in which Gaussian splats are stored")
    end = re.search(rb"^end_header[ \t]*\r?\n", data[:_HEADER_BYTES], re.MULTILINE)
    if end is None:
        raise BadItem("the .ply file is cut short: its header does not end")
    return data[: end.start()].decode("ascii", "replace").splitlines(), data[end.end() :]


def _announced(header: list[str]) -> tuple[str, int, dict[str, str]]:
    """The format, how many vertices there are, and their properties with the type of each."""
    kind, count, fields, elements = "", 0, {}, 0
    for words in (line.split() for line in header):
        match words:
            case ["format", ("ascii" | "binary_little_endian" | "binary_big_endian") as kind, _]:
                pass
            case ["element", "vertex", number] if number.isdigit() and not elements:
                count, elements = int(number), 1
            case ["element", *_]:
                if not elements:
                    raise BadItem("the .ply file does not begin with its vertices, as files of splats do")
                elements += 1
            case ["property", type_, name] if elements == 1 and type_ in _TYPES and name not in fields:
                fields[name] = _TYPES[type_]
            case ["property", *_] if elements == 1:
                raise BadItem(f"the .ply file has a property that no splat has: '{' '.join(words)[:80]}'")
    if not kind or not elements:
        raise BadItem("the header of the .ply file is damaged: it names no format, or no vertices")
    return kind, count, fields


def _binary(body: bytes, count: int, fields: dict[str, str], kind: str) -> np.ndarray:
    order = "<" if kind == "binary_little_endian" else ">"
    row = np.dtype([(name, order + form) for name, form in fields.items()])
    if len(body) < count * row.itemsize:
        raise BadItem(
            f"the .ply file is cut short: {count:,} splats have {count * row.itemsize:,} bytes, it holds {len(body):,}"
        )
    table = np.frombuffer(body, row, count)
    return np.stack([table[name].astype(np.float64) for name in PROPERTIES], 1)


def _text(body: bytes, count: int, fields: dict[str, str]) -> np.ndarray:
    rows = np.zeros((0, len(PROPERTIES)))
    wanted = [list(fields).index(name) for name in PROPERTIES]
    with suppress(ValueError):  # a line of fewer numbers, or of something else
        if count and body.strip():
            rows = np.loadtxt(io.BytesIO(body), comments=None, usecols=wanted, max_rows=count, ndmin=2)
    if len(rows) < count:
        raise BadItem(f"the .ply file is damaged or cut short: it announces {count:,} lines of {len(fields)} numbers")
    return rows
