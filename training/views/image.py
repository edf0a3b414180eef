"""Views of one image: Pillow images in and out, ending as an array that an encoder takes."""
# H height, W width

import math

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from pydantic import BaseModel, Field
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as color

from enfold.modalities import Arrays
from enfold.modalities.image import FILTERS, ImagePreprocess, normalize
from enfold.modalities.image import Image as ImageReader

_TRIES = 10


def random_resized_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Image.Image:
    """A rectangle of uint8 [H, W, 3] or grey [H, W], resized to size x size with a bicubic filter.

    scale   share of the area
    ratio   width / height, drawn evenly in its logarithm
    """
    whole = Image.fromarray(image)
    return whole.resize((size, size), FILTERS["bicubic"], box=random_box(*whole.size, rng, scale, ratio))


def plain(image: np.ndarray, rng: np.random.Generator, reader: ImageReader) -> Arrays:
    """A crop of half the area or more, mirrored half of the time."""
    view = random_resized_crop(image, rng, size=reader.preprocess.size, scale=(0.5, 1.0))
    return {"image": to_array(random_flip(view, rng), reader.preprocess)}


def random_affine(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    size: int,
    degrees: float,
    shift: float,
    scale: tuple[float, float],
    background: tuple[int, int, int],
) -> Image.Image:
    """uint8 [H, W, 3] turned, shifted and scaled about its centre, resized to size x size.

    degrees      at most, either way
    shift        at most, along either side, as a share of it
    scale        of lengths
    background   shows where the image has left
    """
    whole = Image.fromarray(image)
    moved = color.affine(
        whole,
        angle=rng.uniform(-degrees, degrees),
        translate=[round(side * rng.uniform(-shift, shift)) for side in whole.size],
        scale=rng.uniform(*scale),
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=list(background),
    )
    return moved.resize((size, size), FILTERS["bicubic"])


def random_flip(view: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Left and right exchanged, half of the time."""
    return ImageOps.mirror(view) if rng.random() < 0.5 else view


def color_jitter(
    view: Image.Image,
    rng: np.random.Generator,
    *,
    probability: float,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Image.Image:
    """Each property scaled by up to 1 ± its strength, hue turned by up to ± its share of a circle; in random order."""
    if rng.random() >= probability:
        return view
    changes = [
        (color.adjust_brightness, rng.uniform(1 - brightness, 1 + brightness)),
        (color.adjust_contrast, rng.uniform(1 - contrast, 1 + contrast)),
        (color.adjust_saturation, rng.uniform(1 - saturation, 1 + saturation)),
        (color.adjust_hue, rng.uniform(-hue, hue)),
    ]
    for i in rng.permutation(len(changes)):
        change, amount = changes[i]
        view = change(view, amount)
    return view


def random_gray(view: Image.Image, rng: np.random.Generator, *, probability: float) -> Image.Image:
    """Colours taken away, as many equal channels left."""
    return view.convert("L").convert(view.mode) if rng.random() < probability else view


def random_blur(
    view: Image.Image, rng: np.random.Generator, *, probability: float, radius: tuple[float, float] = (0.1, 2.0)
) -> Image.Image:
    """Gaussian blur; `radius` in pixels."""
    if rng.random() >= probability:
        return view
    return view.filter(ImageFilter.GaussianBlur(rng.uniform(*radius)))


def random_solarise(
    view: Image.Image, rng: np.random.Generator, *, probability: float, threshold: int = 128
) -> Image.Image:
    """Values from the threshold up, of 255, are inverted."""
    return ImageOps.solarize(view, threshold) if rng.random() < probability else view


class MultiCrop(BaseModel, frozen=True, extra="forbid"):
    """Two large crops of an image and several small ones, as DINO draws them.

    Caron et al. 2021 (DINO), arXiv:2104.14294. Where three numbers stand, they are of the first large crop, the second
    and the small ones.
    """

    global_scale: tuple[float, float] = (0.32, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.32)
    local_crops: int = Field(8, ge=1)
    local_size: int = Field(96, ge=1)  # pixels; large crops have the encoder's size
    jitter_probability: float = 0.8
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)  # brightness, contrast, saturation, hue
    gray_probability: float = 0.2
    blur_probability: tuple[float, float, float] = (1.0, 0.1, 0.5)
    solarise_probability: tuple[float, float, float] = (0.0, 0.2, 0.0)

    def __call__(
        self, image: np.ndarray, rng: np.random.Generator, preprocess: ImagePreprocess
    ) -> tuple[np.ndarray, np.ndarray]:
        """Large crops float32 [2, 3, H, W] and small ones [V, 3, h, w]."""
        large = [self._view(image, rng, preprocess, kind) for kind in (0, 1)]
        small = [self._view(image, rng, preprocess, 2) for _ in range(self.local_crops)]
        return np.stack(large), np.stack(small)

    def _view(self, image: np.ndarray, rng: np.random.Generator, preprocess: ImagePreprocess, kind: int) -> np.ndarray:
        size, scale = (self.local_size, self.local_scale) if kind == 2 else (preprocess.size, self.global_scale)
        brightness, contrast, saturation, hue = self.jitter
        view = random_flip(random_resized_crop(image, rng, size=size, scale=scale), rng)
        view = color_jitter(
            view,
            rng,
            probability=self.jitter_probability,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
        )
        view = random_gray(view, rng, probability=self.gray_probability)
        # The published radii are for large crops of 224 pixels.
        radius = (0.1 * preprocess.size / 224, 2.0 * preprocess.size / 224)
        view = random_blur(view, rng, probability=self.blur_probability[kind], radius=radius)
        return to_array(random_solarise(view, rng, probability=self.solarise_probability[kind]), preprocess)


def to_array(view: Image.Image, preprocess: ImagePreprocess) -> np.ndarray:
    """float32 [3, H, W], normalised as serving does."""
    return normalize(np.asarray(view), preprocess)


def random_box(
    width: int, height: int, rng: np.random.Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """A rectangle that fits; after ten misses the largest centred one of an allowed shape."""
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*scale)
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    shape = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * shape)), min(height, round(width / shape))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
