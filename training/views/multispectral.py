"""Views of one raster: float32 [C, H, W] in [0, 1] in and out, every band changed alike or by its neighbours."""
# C bands, H W height and width

import numpy as np
from scipy import ndimage

from enfold.modalities.multispectral import resized
from training.views.image import random_box


def random_resized_crop(
    values: np.ndarray, rng: np.random.Generator, *, size: int, scale: tuple[float, float]
) -> np.ndarray:
    """A rectangle of [C, H, W] resized to [C, size, size]; `scale` is its share of the area."""
    height, width = values.shape[1:]
    return resized(values, size, random_box(width, height, rng, scale, (3 / 4, 4 / 3)))


def random_flips(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrored along each axis half of the time: from above there is no upside."""
    axes = tuple(int(axis) + 1 for axis in np.flatnonzero(rng.random(2) < 0.5))
    return np.flip(view, axes)


def random_light(view: np.ndarray, rng: np.random.Generator, *, probability: float, strength: float) -> np.ndarray:
    """Brightness and contrast scaled by up to 1 ± strength, contrast about each band's mean."""
    if rng.random() >= probability:
        return view
    view = view * rng.uniform(1 - strength, 1 + strength)
    mean = view.mean((1, 2), keepdims=True)
    return np.clip((view - mean) * rng.uniform(1 - strength, 1 + strength) + mean, 0, 1)


def random_band_mix(view: np.ndarray, rng: np.random.Generator, *, probability: float) -> np.ndarray:
    """All bands replaced by one mixture of them, as colours are by grey; weights are drawn evenly and add up to 1."""
    if rng.random() >= probability:
        return view
    mixture = np.tensordot(rng.dirichlet(np.ones(len(view))), view, 1)
    return np.broadcast_to(mixture, view.shape)


def random_blur(
    view: np.ndarray, rng: np.random.Generator, *, probability: float, radius: tuple[float, float]
) -> np.ndarray:
    """Gaussian blur within each band; `radius` in pixels."""
    if rng.random() >= probability:
        return view
    sigma = rng.uniform(*radius)
    blurred: np.ndarray = ndimage.gaussian_filter(view, (0, sigma, sigma))
    return blurred
