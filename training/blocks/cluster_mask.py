"""Masks that hide groups of neighbouring patches."""
# N patches

import numpy as np


def cluster_mask(grid: tuple[int, int], count: int, cluster: int, rng: np.random.Generator) -> np.ndarray:
    """Exactly `count` of the patches of a grid: squares of `cluster` patches a side from random corners on.

    grid      rows and columns; a square that reaches over their end is cut there
    cluster   1 draws every patch alone: uniform masking
    returns   [N], bool, row by row, True = hidden

    Gong et al. 2022 (SSAST), arXiv:2110.09784, algorithm 1. The last square is cut off where `count` is reached.
    """
    rows, columns = grid
    assert count <= rows * columns
    mask, hidden = np.zeros(grid, bool), 0
    for corner in rng.permutation(rows * columns):
        top, left = divmod(int(corner), columns)
        square = np.argwhere(~mask[top : top + cluster, left : left + cluster])[: count - hidden]
        mask[top + square[:, 0], left + square[:, 1]] = True
        hidden += len(square)
        if hidden == count:
            break
    return mask.ravel()
