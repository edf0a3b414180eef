"""Views of a place's grid [C, X, Y, Z], z upwards: mirrored, turned by quarters, turned a little and scaled."""
# N boxes: centre and size in voxels, along the axes

import numpy as np
from scipy import ndimage

from enfold.modalities import Arrays
from enfold.modalities.radiance import Grid, Radiance

_ANGLE, _SCALE = 10.0, (0.9, 1.1)  # degrees about z; our reading, the paper gives none


def cropped(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """[C, R, R, R] without what only fills it up."""
    x, y, z = (int(valid.any(axes).sum()) for axes in ((1, 2), (0, 2), (0, 1)))
    return values[:, :x, :y, :z]


def filled(values: np.ndarray, size: int) -> Arrays:
    """[C, X, Y, Z] filled up to the encoder's inputs."""
    lacking = [(0, 0), *((0, size - count) for count in values.shape[1:])]
    valid = np.ones(values.shape[1:], np.float32)
    return {"radiance": np.pad(values, lacking).astype(np.float32), "valid": np.pad(valid, lacking[1:])}


def random_turn(values: np.ndarray, boxes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mirrored along x or y, then turned by quarters about z, with probability 0.5 each; boxes [N, 6] too."""
    boxes = boxes.copy()
    if rng.random() < 0.5:
        axis = int(rng.integers(2))
        boxes[:, axis] = values.shape[1 + axis] - boxes[:, axis]
        values = np.flip(values, 1 + axis)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):  # from x towards y
            boxes = boxes[:, [1, 0, 2, 4, 3, 5]]
            boxes[:, 0] = values.shape[2] - boxes[:, 0]
            values = np.rot90(values, 1, (1, 2))
    return values, boxes


def random_zoom(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With probability 0.5 turned a little about z and scaled, about its middle, on its own grid."""
    if rng.random() >= 0.5:
        return values
    angle, scale = np.deg2rad(rng.uniform(-_ANGLE, _ANGLE)), rng.uniform(*_SCALE)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]) / scale
    middle = (np.array(values.shape[1:]) - 1) / 2
    offset = middle - turn @ middle
    return np.stack([ndimage.affine_transform(channel, turn, offset, order=1, mode="nearest") for channel in values])


def plain(grid: Grid, rng: np.random.Generator, reader: Radiance) -> Arrays:
    """The whole place, mirrored and turned."""
    [sample] = reader.prepare(grid)
    values, _ = random_turn(cropped(sample.arrays["radiance"], sample.arrays["valid"]), np.zeros((0, 6)), rng)
    return filled(values, reader.preprocess.size)
