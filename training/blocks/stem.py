"""The first layer of an encoder of colours, made anew for an encoder of any bands."""
# D kernels, C bands, k side of a kernel

from collections.abc import Sequence

import torch
from torch import Tensor

COLOURS = ("red", "green", "blue")


def stem_for(rgb: Tensor, bands: Sequence[str]) -> Tensor:
    """Kernels [D, C, k, k] from those of red, green and blue [D, 3, k, k].

    A colour keeps its kernel, so that other bands of zeros change nothing; any other band gets the colours' mean times
    3 / C, by which answers keep their scale. Wang et al. 2024 (SoftCon), arXiv:2405.20462, leaves the rule open.
    """
    other = rgb.mean(1) * 3 / len(bands)
    return torch.stack([rgb[:, COLOURS.index(band)] if band in COLOURS else other for band in bands], dim=1)
