"""Patches of images and volumes alike: how they are cut, where they lie on their grid, and which are seen.

He et al. 2022 (MAE), arXiv:2111.06377, whose position embeddings these are in two dimensions; a third is added the same
way, each axis with features of its own.
"""
# B batch, C channels, S axes of an image (H W) or a volume (X Y Z), N patches, D features, P side of a patch

from itertools import chain

import torch
from torch import Tensor

_LONGEST = 10_000  # of the wavelengths, in patches, over 2 pi


def patchify(x: Tensor, patch: int) -> Tensor:
    """[B, C, *S] -> [B, N, C * P ** axes], patches in the order in which a convolution gives them."""
    axes = x.ndim - 2
    grid = [side // patch for side in x.shape[2:]]
    cut = x.reshape(*x.shape[:2], *chain.from_iterable((count, patch) for count in grid))
    order = [0, *range(2, 2 + 2 * axes, 2), 1, *range(3, 3 + 2 * axes, 2)]
    return cut.permute(order).flatten(1 + axes).flatten(1, axes)


def positions(grid: tuple[int, ...], dim: int, like: Tensor) -> Tensor:
    """Sines and cosines of every patch's place on the grid [N, D], on the device of `like`; fixed, never learnt.

    Features are shared out among the axes; those that cannot be are 0.
    """
    each = dim // (2 * len(grid))  # wavelengths of an axis
    pace = _LONGEST ** (-torch.arange(each, device=like.device, dtype=like.dtype) / each)
    places = [torch.arange(count, device=like.device, dtype=like.dtype) for count in grid]
    waves = torch.cat([axis.flatten()[:, None] * pace for axis in torch.meshgrid(*places, indexing="ij")], 1)
    found = torch.cat([waves.sin(), waves.cos()], 1)
    return torch.nn.functional.pad(found, (0, dim - found.shape[1]))


def some(count: int, keep: int, batch: int) -> Tensor:
    """Which patches of each item stay visible, drawn at random without repetition, [B, K] in rising order."""
    return torch.rand(batch, count).argsort(1)[:, :keep].sort(1).values
