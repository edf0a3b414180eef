"""Block masks: patches are hidden in rectangles, so that a hidden one cannot be guessed from its neighbours.

Bao et al. 2022 (BEiT), arXiv:2106.08254, algorithm 1.
"""

import math

import numpy as np

_LEAST = 4  # patches of a rectangle, where so many are still to be hidden
_SHAPE = (0.3, 1 / 0.3)  # height / width


def block_mask(rows: int, columns: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """bool [rows, columns], True = hidden: rectangles, the last one cut short so that the share is met exactly."""
    mask = np.zeros((rows, columns), bool)
    left = round(ratio * mask.size)
    while left:
        area = rng.uniform(min(_LEAST, left), left)
        shape = math.exp(rng.uniform(math.log(_SHAPE[0]), math.log(_SHAPE[1])))
        h = min(rows, max(1, round(math.sqrt(area * shape))))
        w = min(columns, max(1, round(math.sqrt(area / shape))))
        top, start = int(rng.integers(rows - h + 1)), int(rng.integers(columns - w + 1))
        block = mask[top : top + h, start : start + w]
        fresh = np.argwhere(~block)[:left]
        block[tuple(fresh.T)] = True
        left -= len(fresh)
    return mask
