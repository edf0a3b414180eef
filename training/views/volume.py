"""Views of one scan and its label map: cubes of an encoder's size, turned, scaled, blurred and lit as nnU-Net does.

Isensee et al. 2021 (nnU-Net), doi:10.1038/s41592-020-01008-z, whose probabilities and ranges these are.
"""
# X Y Z voxels, P side of a view

import numpy as np
from scipy import ndimage

from enfold.modalities.volume import rescaled

_TURN, _SCALE = 30.0, (0.7, 1.4)  # degrees about each axis; zoom


def random_cube(
    scan: np.ndarray, labels: np.ndarray, rng: np.random.Generator, *, side: int, on_label: float
) -> tuple[np.ndarray, np.ndarray]:
    """A cube of scan and labels [P, P, P], turned and scaled with probability 0.2 each.

    scan, labels   [X, Y, Z]  on one grid
    on_label       probability that its middle is a voxel of some class, each class as likely as another
    """
    middle = _middle(labels, rng, on_label, side)
    matrix = _turn(rng) if rng.random() < 0.2 else np.eye(3)
    matrix = matrix / (rng.uniform(*_SCALE) if rng.random() < 0.2 else 1.0)
    offset = middle - matrix @ np.full(3, (side - 1) / 2)
    shape = (side, side, side)
    # Outside the scan is background, as where serving fills a small volume up.
    view = ndimage.affine_transform(scan, matrix, offset, shape, order=1, cval=float(scan.min()))
    truth = ndimage.affine_transform(labels, matrix, offset, shape, order=0)
    return view, truth


def random_resized_crop(
    scan: np.ndarray, rng: np.random.Generator, *, side: int, scale: tuple[float, float]
) -> np.ndarray:
    """A box of scan [X, Y, Z] with the proportions of the whole, brought to a cube [P, P, P].

    scale   share of the volume
    """
    share = rng.uniform(*scale) ** (1 / 3)
    sides = [max(1, round(share * count)) for count in scan.shape]
    corner = [int(rng.integers(count - wide + 1)) for count, wide in zip(scan.shape, sides, strict=True)]
    box = tuple(slice(at, at + wide) for at, wide in zip(corner, sides, strict=True))
    return rescaled(scan[box], (side, side, side))


def random_mirror(view: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both mirrored along each axis half of the time: for classes that know no left and right."""
    axes = tuple(int(axis) for axis in np.flatnonzero(rng.random(3) < 0.5))
    return np.flip(view, axes), np.flip(truth, axes)


def random_light(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise, blur, brightness, contrast, low resolution and gamma, each with its own probability."""
    if rng.random() < 0.1:
        view = view + rng.normal(0, np.sqrt(rng.uniform(0, 0.1)), view.shape)
    if rng.random() < 0.2:
        view = ndimage.gaussian_filter(view, rng.uniform(0.5, 1.0))
    if rng.random() < 0.15:
        view = view * rng.uniform(0.75, 1.25)
    if rng.random() < 0.15:
        view = np.clip((view - view.mean()) * rng.uniform(0.75, 1.25) + view.mean(), view.min(), view.max())
    if rng.random() < 0.25:
        view = _low_resolution(view, rng.uniform(0.5, 1.0))
    for invert, probability in ((True, 0.1), (False, 0.3)):
        if rng.random() < probability:
            view = _gamma(view, rng.uniform(0.7, 1.5), invert)
    return view.astype(np.float32)


def _middle(labels: np.ndarray, rng: np.random.Generator, on_label: float, side: int) -> np.ndarray:
    """Of a cube that lies inside the scan as far as it can."""
    reach = [(min(side, count) / 2, count - min(side, count) / 2) for count in labels.shape]
    classes = np.unique(labels[labels > 0])
    if len(classes) and rng.random() < on_label:
        voxels = np.argwhere(labels == rng.choice(classes))
        wanted = voxels[rng.integers(len(voxels))].astype(float)
    else:
        wanted = rng.uniform([low for low, _ in reach], [high for _, high in reach])
    return np.clip(wanted, [low for low, _ in reach], [high for _, high in reach]) - 0.5


def _turn(rng: np.random.Generator) -> np.ndarray:
    """A rotation by up to 30 degrees about each axis, [3, 3]."""
    total = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-_TURN, _TURN, 3))):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        total = turn @ total
    return total


def _low_resolution(view: np.ndarray, zoom: float) -> np.ndarray:
    coarse = ndimage.zoom(view, zoom, order=0)
    factors = [count / small for count, small in zip(view.shape, coarse.shape, strict=True)]
    fine: np.ndarray = ndimage.zoom(coarse, factors, order=1)
    return fine


def _gamma(view: np.ndarray, gamma: float, invert: bool) -> np.ndarray:
    """A power of the values in their own range, mean and deviation kept; `invert` bends the bright end."""
    view = -view if invert else view
    low, width, mean, deviation = view.min(), np.ptp(view) + 1e-7, view.mean(), view.std()
    bent = ((view - low) / width) ** gamma * width + low
    bent = (bent - bent.mean()) / (bent.std() + 1e-7) * deviation + mean
    return -bent if invert else bent
