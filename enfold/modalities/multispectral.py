"""multispectral: a picture of any number of bands, as GeoTIFF or a bare array (.npy, [C, H, W]).

A decoded item is a `Raster`: float32 [C, H, W], NaN where nothing was measured (NaN, or the file's nodata value), with
the names of its bands and its place on the map. The encoder names the bands it was trained on: a GeoTIFF brings them in
any order, among others; an array brings exactly these, in this order. Each is scaled by its own mean and deviation, and
a pixel without a measurement counts as the band's mean. Of a GeoTIFF the first image is read, not its overviews.
"""
# C bands, H W height and width

import io
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image as Pillow
from pydantic import BaseModel, Field

from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Modality, Part, Sample, Spec, Stored
from enfold.modalities.image import FILTERS, boxes
from enfold.scans import npy

# Each names its own length, so a decoder stops where the header says; a JPEG within a TIFF has sizes of its own.
COMPRESSIONS = {"NONE", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "LZMA", "ZSTD"}
COLOURS = ({"red", "b4", "b04"}, {"green", "b3", "b03"}, {"blue", "b2", "b02"})  # as people and Sentinel-2 name them
_SEGMENTS = 100_000  # strips or tiles of a file: each is a step of its own
# Numbers of TIFF tags (GeoTIFF 1.1, and two of GDAL's) and of GeoTIFF's keys.
_SCALE, _TIE, _TRANSFORM, _KEYS, _METADATA, _NODATA = 33550, 33922, 34264, 34735, 42112, 42113
_RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1025, 2048, 3072
_POINT = 2  # raster type: places are of pixels' centres


@dataclass(frozen=True)
class Raster:
    values: np.ndarray  # float32 [C, H, W], NaN where nothing was measured
    bands: tuple[str, ...] = ()  # one name each, or none at all
    affine: np.ndarray | None = None  # [2, 3], (column, row, 1) of a pixel's top left corner -> x, y on the map
    crs: str = ""  # of the map: "EPSG:4326"


class Band(Spec):
    name: str
    mean: float  # of the training data, in the file's own unit
    std: float = Field(gt=0)


class MultispectralPreprocess(Spec):
    """From `Raster` to float32 [C, size, size] in [0, 1]: two deviations below a band's mean are 0, two above are 1."""

    bands: tuple[Band, ...] = Field(min_length=1)
    size: int = Field(ge=1, le=8192)  # pixels, height = width: the centre square
    tile: int | None = Field(None, ge=2)  # side of the parts that a larger item is cut into, in pixels


class MultispectralLimits(Spec):
    max_bytes: int = 256 * 2**20
    max_values: int = 100_000_000  # bands x height x width


class MultispectralJson(BaseModel, extra="forbid"):
    multispectral: str = Field(description="the file's bytes (GeoTIFF or .npy), base64")


class Multispectral(Modality[Raster]):
    name = "multispectral"
    media_types = {
        ".geotiff": "image/tiff; application=geotiff",
        ".gtiff": "image/tiff; application=geotiff",
    }
    shared_types = {
        ".tif": "image/tiff",
        ".tiff": "image/tiff",
        ".npy": "application/vnd.numpy",
    }
    Preprocess, Limits, Json = MultispectralPreprocess, MultispectralLimits, MultispectralJson

    @property
    def input_size(self) -> int:
        return int(self.preprocess.size)

    def read(self, item: Any) -> Raster:
        """From file bytes, a path, an array [C, H, W] or a `Raster`. Raises BadItem or TooLarge."""
        if isinstance(item, Stored):
            data = self.file_bytes(item)
            item = self._array(data) if data.startswith(npy.MAGIC) else self._geotiff(data)
        if isinstance(item, np.ndarray):
            self._check_shape(item.shape)
            item = Raster(_real(item), self._names_of(item))
        if not isinstance(item, Raster):
            raise BadItem(f"a multispectral item is file bytes, a path or an array, not {type(item).__name__}")
        if np.isinf(item.values).any():
            raise BadItem("a pixel of the item is infinite: mark what was not measured by NaN or a nodata value")
        return item

    def prepare(self, value: Raster, *, parts: bool = False) -> list[Sample]:
        """One sample {"image": float32 [C, size, size]}, or one per tile; `origin` holds the place on the map."""
        values, tile = self.scaled(value), self.preprocess.tile
        height, width = values.shape[1:]
        origin = {"size": (height, width), "affine": value.affine, "crs": value.crs}
        if not parts or tile is None or max(height, width) <= tile:
            return [Sample({"image": resized(values, self.preprocess.size, _square(height, width))}, origin=origin)]
        return [
            Sample(
                {"image": resized(values, self.preprocess.size, _square(bottom - top, right - left, left, top))},
                part=Part(index=index, box=(left, top, right, bottom)),
                origin=origin,
            )
            for index, (left, top, right, bottom) in enumerate(boxes(height, width, tile))
        ]

    def scaled(self, value: Raster) -> np.ndarray:
        """The encoder's bands in its order, float32 [C, H, W] from 0 to 1. Raises BadItem where one is missing."""
        wanted = self.preprocess.bands
        values = value.values[[_position(value, band.name, wanted) for band in wanted]]
        mean, std = (np.array([[[getattr(band, fact)]] for band in wanted], np.float32) for fact in ("mean", "std"))
        missing = np.isnan(values)
        empty = [band.name for band, gone in zip(wanted, missing.all((1, 2)), strict=True) if gone]
        if empty:
            raise BadItem(f"band '{empty[0]}' of the item holds no measurement at all, only NaN or nodata")
        return np.clip((np.where(missing, mean, values) - (mean - 2 * std)) / (4 * std), 0, 1)

    def thumbnail(self, value: Raster, side: int = 96) -> bytes:
        """Red, green and blue where bands are named so, else the first three or the first; each band stretched."""
        named = [name.lower() for name in value.bands]
        found = [next((i for i, name in enumerate(named) if name in colour), None) for colour in COLOURS]
        first = [0, 1, 2] if len(value.values) >= 3 else [0, 0, 0]
        shown = first if None in found else found
        image, file = Pillow.fromarray(np.stack([_stretched(value.values[i]) for i in shown], axis=2)), io.BytesIO()
        image.thumbnail((side, side))
        image.save(file, "WEBP", quality=85)
        return file.getvalue()

    def _names_of(self, values: np.ndarray) -> tuple[str, ...]:
        """Of the bands of a bare array, which are the encoder's. Raises BadItem for another number of them."""
        if self.preprocess is None:
            return ()
        names = tuple(band.name for band in self.preprocess.bands)
        if len(values) != len(names):
            raise BadItem(f"the array has {len(values)} bands; this model takes {len(names)}: {', '.join(names)}")
        return names

    def _array(self, data: bytes) -> np.ndarray:
        array = npy.open_scan(data)
        self._check_shape(array.shape)
        return array.voxels()

    def _geotiff(self, data: bytes) -> Raster:
        tifffile = require("tifffile", "multispectral", "reading a GeoTIFF file")
        require("imagecodecs", "multispectral", "reading a GeoTIFF file")
        try:
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                page = file.pages.first
                self._check_header(page, len(data))
                values, axes, tags = page.asarray(maxworkers=1), page.axes, {tag.code: tag.value for tag in page.tags}
                planes = np.moveaxis(values, -1, 0) if axes == "YXS" else values.reshape(-1, *values.shape[-2:])
        except BadItem:
            raise
        except Exception as error:  # of damaged bytes a decoder may fail in any way
            raise BadItem(f"these bytes are no GeoTIFF and no .npy array, or damaged ({error})") from None
        values = _real(planes)
        values[values == _nodata(tags)] = np.nan
        return Raster(values, _band_names(tags, len(values)), _affine(tags), _crs(tags))

    def _check_header(self, page: Any, size: int) -> None:
        """Before a pixel is decoded."""
        self._check_shape((page.samplesperpixel, page.imagelength, page.imagewidth))
        if page.axes not in ("YX", "YXS", "SYX"):
            raise BadItem(f"the TIFF's first image has axes {page.axes}; a raster has bands, height and width")
        if page.compression.name not in COMPRESSIONS:
            raise BadItem(
                f"the TIFF is compressed by {page.compression.name}; read are {', '.join(sorted(COMPRESSIONS))}"
            )
        if page.is_tiled:
            self._check_shape((page.samplesperpixel, page.tilelength, page.tilewidth))
        if len(page.dataoffsets) > _SEGMENTS:
            raise TooLarge(f"the TIFF has {len(page.dataoffsets):,} strips or tiles; at most {_SEGMENTS:,} are read")
        if any(at + count > size for at, count in zip(page.dataoffsets, page.databytecounts, strict=True)):
            raise BadItem("the TIFF is cut short: some of its pixels lie beyond its end")

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        seen = " x ".join(map(str, shape)) or "nothing"
        if len(shape) != 3 or min(shape) < 1:
            raise BadItem(f"a multispectral item is bands x height x width, none of them 0; this one is {seen}")
        if np.prod(shape, dtype=float) > self.limits.max_values:
            raise TooLarge(f"the item is {seen}; at most {self.limits.max_values:,} values in all: cut it into tiles")


def resized(values: np.ndarray, size: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """The box (left, top, right, bottom) of [C, H, W] in [0, 1] at size x size pixels, float32 [C, size, size]."""
    left, top, right, bottom = box
    cut = np.ascontiguousarray(values[:, top:bottom, left:right], np.float32)  # first: a filter reaches beyond a box
    if right - left == bottom - top == size:
        return cut
    scaled = [np.asarray(Pillow.fromarray(band).resize((size, size), FILTERS["bicubic"])) for band in cut]
    return np.clip(np.stack(scaled), 0, 1)  # a bicubic filter overshoots at edges


def _square(height: int, width: int, left: int = 0, top: int = 0) -> tuple[int, int, int, int]:
    """The largest box in the middle of the one of that size at (left, top)."""
    side = min(height, width)
    left, top = left + (width - side) // 2, top + (height - side) // 2
    return left, top, left + side, top + side


def _position(value: Raster, name: str, wanted: tuple[Band, ...]) -> int:
    """Of a band in the item."""
    named = [band.lower() for band in value.bands]
    if name.lower() in named:
        return named.index(name.lower())
    needed = ", ".join(band.name for band in wanted)
    has = f"has {', '.join(value.bands)}" if value.bands else "names none of its bands"
    raise BadItem(f"the item lacks band '{name}': this model takes {needed}, and the file {has}: describe its bands")


def _stretched(band: np.ndarray) -> np.ndarray:
    """uint8 [H, W] of [H, W]: black at the second percentile, white at the 98th, black where there is nothing."""
    known = band[~np.isnan(band)]
    low, high = np.percentile(known, (2, 98)) if len(known) else (0.0, 1.0)
    grey = (np.nan_to_num(band, nan=low) - low) / max(float(high - low), 1e-6)
    return np.asarray(np.clip(grey, 0, 1) * 255).astype(np.uint8)


def _real(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise BadItem(f"the pixels are {values.dtype}; numbers are needed (no complex values, no texts)")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused as such
        return values.astype(np.float32)


# --- what a GeoTIFF says beside its pixels --------------------------------------------------------------------------


def _nodata(tags: dict[int, Any]) -> np.float32:
    """The value that stands for no measurement; NaN, which equals nothing, where none does."""
    try:
        with np.errstate(over="ignore"):
            return np.float32(float(str(tags.get(_NODATA, "nan")).strip("\0 ")))
    except ValueError:
        raise BadItem(f"the TIFF's nodata value is '{tags[_NODATA]}': it must be a number") from None


def _band_names(tags: dict[int, Any], count: int) -> tuple[str, ...]:
    """From GDAL's metadata: the description of every band, or none."""
    try:
        root = ElementTree.fromstring(str(tags[_METADATA]).strip("\0 "))
    except (KeyError, ElementTree.ParseError):
        return ()
    described = {
        item.get("sample"): (item.text or "").strip() for item in root.iter("Item") if item.get("role") == "description"
    }
    names = tuple(described.get(str(band), "") for band in range(count))
    return names if all(names) else ()


def _affine(tags: dict[int, Any]) -> np.ndarray | None:
    """From the transformation, or from pixel scale and tie point; None where there is neither or it makes no sense."""
    try:
        if _TRANSFORM in tags:
            found = np.array(tags[_TRANSFORM], float).reshape(4, 4)[:2, [0, 1, 3]]
        else:
            (dx, dy, *_), (column, row, _, x, y, *_) = tags[_SCALE], tags[_TIE]
            found = np.array([[dx, 0, x - column * dx], [0, -dy, y + row * dy]], float)
    except (KeyError, ValueError, TypeError):
        return None
    if _keys(tags).get(_RASTER_TYPE) == _POINT:
        found[:, 2] -= found[:, :2] @ (0.5, 0.5)
    return found if np.isfinite(found).all() else None


def _crs(tags: dict[int, Any]) -> str:
    keys = _keys(tags)
    code = keys.get(_PROJECTED) or keys.get(_GEOGRAPHIC)
    return f"EPSG:{code}" if code else ""


def _keys(tags: dict[int, Any]) -> dict[int, int]:
    """GeoTIFF's keys whose value is a short number: rows of (key, 0, 1, value) after a head of four."""
    numbers = np.array(tags.get(_KEYS, ()), int)
    rows = numbers[: len(numbers) // 4 * 4].reshape(-1, 4)[1:]
    return {int(key): int(value) for key, place, _, value in rows if place == 0}
