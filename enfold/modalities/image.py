"""image: PNG, JPEG, WebP, GIF, BMP and TIFF, one frame, as RGB.

A decoded image is uint8 [H, W, 3]: turned by its EXIF orientation, transparency laid over a background, grey and
palette spread to three channels, 16 bits brought down to 8. An animation is a video and is refused here.
"""
# H height, W width, 3 channels RGB

import io
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps
from pydantic import BaseModel, Field

from enfold.errors import BadItem, TooLarge
from enfold.modalities import Modality, Part, Sample, Spec, Stored

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
FILTERS = {"bilinear": Pillow.Resampling.BILINEAR, "bicubic": Pillow.Resampling.BICUBIC}
# Of 255: a pixel as bright as this in every channel shows glass. Scanned glass measures 243 to 246, that behind a
# brown-stained section 230; the palest stroma 206.
GLASS = 215


class Tile(Spec):
    """How an image larger than one tile is cut into parts."""

    side: int = Field(ge=2)  # pixels
    least_tissue: float = Field(0.0, ge=0, le=1)  # share of a tile's pixels that show no glass, else it is left out


class ImagePreprocess(Spec):
    """From uint8 [H, W, 3] to float32 [3, size, size]."""

    size: int = Field(ge=1, le=8192)  # pixels, height = width
    fit: Literal["crop", "pad", "squash"] = "crop"  # centre square, background bars, or stretched
    filter: Literal["bilinear", "bicubic"] = "bicubic"
    background: tuple[int, int, int] = (255, 255, 255)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of channels in [0, 1]
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    tile: Tile | None = None


class ImageLimits(Spec):
    max_bytes: int = 20 * 2**20
    max_pixels: int = 50_000_000
    min_side: int = 2


class ImageJson(BaseModel, extra="forbid"):
    image: str = Field(description="the file's bytes, base64")


class Image(Modality[np.ndarray]):
    name = "image"
    media_types = {
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".jpeg": "image/jpeg",
        ".webp": "image/webp",
        ".gif": "image/gif",
        ".bmp": "image/bmp",
        ".tif": "image/tiff",
        ".tiff": "image/tiff",
    }
    Preprocess, Limits, Json = ImagePreprocess, ImageLimits, ImageJson

    @property
    def input_size(self) -> int:
        return int(self.preprocess.size)

    def read(self, item: Any) -> np.ndarray:
        """uint8 [H, W, 3] from file bytes, a path, a Pillow image or such an array."""
        if isinstance(item, np.ndarray):
            if item.dtype != np.uint8 or item.ndim != 3 or item.shape[2] != 3:
                raise BadItem(f"an image array is uint8 [H, W, 3]; this one is {item.dtype} {list(item.shape)}")
            return item
        if isinstance(item, Stored):
            return self._rgb(self._open(self.file_bytes(item)))
        if isinstance(item, Pillow.Image):
            return self._rgb(item)
        raise BadItem(f"an image is file bytes, a path, a Pillow image or an array, not {type(item).__name__}")

    def prepare(self, value: np.ndarray, *, parts: bool = False) -> list[Sample]:
        """One sample {"image": float32 [3, size, size]}, or one per tile that shows enough tissue. Raises BadItem."""
        tile = self.preprocess.tile
        if not parts or tile is None or max(value.shape[:2]) <= tile.side:
            return [self._sample(value)]
        every = boxes(value.shape[0], value.shape[1], tile.side)
        shown = [box for box in every if tissue_share(_cut(value, box)) >= tile.least_tissue]
        if not shown:
            raise BadItem(
                f"no tile of {tile.side} pixels shows {tile.least_tissue:.0%} tissue or more: ask for no parts to get "
                "the image as a whole"
            )
        return [self._sample(_cut(value, box), Part(index=i, box=box)) for i, box in enumerate(shown)]

    def _sample(self, value: np.ndarray, part: Part | None = None) -> Sample:
        spec = self.preprocess
        side, fill = (spec.size, spec.size), spec.background
        image, filter = Pillow.fromarray(value), FILTERS[spec.filter]
        if spec.fit == "crop":
            image = ImageOps.fit(image, side, filter)
        elif spec.fit == "pad":
            image = ImageOps.pad(image, side, filter, color=fill)
        else:
            image = image.resize(side, filter)
        return Sample({"image": normalize(np.asarray(image), spec)}, part, origin={"size": value.shape[:2]})

    def mark(self, value: np.ndarray) -> np.ndarray:
        return np.asarray(Pillow.fromarray(value).resize((8, 8), Pillow.Resampling.BOX))

    def thumbnail(self, value: np.ndarray, side: int = 96) -> bytes:
        image, file = Pillow.fromarray(value), io.BytesIO()
        image.thumbnail((side, side))
        image.save(file, "WEBP", quality=85)
        return file.getvalue()

    def _open(self, data: bytes) -> Pillow.Image:
        if not data:
            raise BadItem("the image has 0 bytes")
        try:
            image = Pillow.open(io.BytesIO(data), formats=FORMATS)
        except Pillow.DecompressionBombError:
            raise TooLarge(f"the image has more than {self.limits.max_pixels:,} pixels: scale it down first") from None
        except Exception:  # of damaged bytes a decoder may fail in any way
            raise BadItem(
                "these bytes are no PNG, JPEG, WebP, GIF, BMP or TIFF image, or its header is broken"
            ) from None
        return image

    def _rgb(self, image: Pillow.Image) -> np.ndarray:
        width, height = image.size
        if width * height > self.limits.max_pixels:
            most = self.limits.max_pixels
            raise TooLarge(f"the image is {width:,} x {height:,} pixels; at most {most:,} in all: scale it down first")
        if min(width, height) < self.limits.min_side:
            raise BadItem(f"the image is {width} x {height} pixels; each side needs {self.limits.min_side} or more")
        try:
            # A phone's JPEG may carry a depth map or a second shot as further frames (MPO); the first is the photo.
            frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
            if frames > 1:
                raise BadItem(f"the image has {frames} frames; an image item has one: save the frame you mean as a PNG")
            return flat(image, self._background)
        except BadItem:
            raise
        except Exception as error:
            raise BadItem(f"the image is damaged or cut short ({error})") from None

    @property
    def _background(self) -> tuple[int, int, int]:
        return self.preprocess.background if self.preprocess else (255, 255, 255)


def flat(image: Pillow.Image, background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """uint8 [H, W, 3]: turned by its EXIF orientation, laid over a background, of 16 bits brought down to 8."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, (*background, 255)), image)
    return np.asarray(image.convert("RGB"))


def normalize(pixels: np.ndarray, spec: ImagePreprocess) -> np.ndarray:
    """uint8 [H, W, 3] to float32 [3, H, W] with the channel statistics of `spec`."""
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    scaled = (pixels.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def tissue_share(pixels: np.ndarray) -> float:
    """Of uint8 [H, W, 3]: the share of pixels that show more than glass."""
    return float((pixels.min(2) < GLASS).mean())


def boxes(height: int, width: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Tiles in rows from the top left; the last of a row or column is moved inside, so that every pixel is covered."""
    for top in (*range(0, height - side, side), max(height - side, 0)):
        for left in (*range(0, width - side, side), max(width - side, 0)):
            yield left, top, min(left + side, width), min(top + side, height)


def _cut(value: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    return value[top:bottom, left:right]


def _eight_bits(image: Pillow.Image) -> Pillow.Image:
    """Bring 16-bit grey down to 8; wider or floating ranges have no fixed white, so they are refused."""
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 65535 or image.mode == "F"):
        raise ValueError("32-bit or floating pixels: convert to 8 or 16 bits")
    return Pillow.fromarray((values // 257).astype(np.uint8))
