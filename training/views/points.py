"""Views of a point cloud."""

import numpy as np


def random_scale(cloud: np.ndarray, rng: np.random.Generator, *, scale: tuple[float, float]) -> np.ndarray:
    """Each axis of [N, 3] by a factor of its own."""
    return cloud * rng.uniform(*scale, 3)


def random_shift(cloud: np.ndarray, rng: np.random.Generator, *, most: float) -> np.ndarray:
    """[N, 3] moved along each axis by at most that."""
    return cloud + rng.uniform(-most, most, 3)
