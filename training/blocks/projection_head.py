"""Projection heads: layers between the embedding and what a loss compares. They stay behind at export."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def projection_head(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given widths, input first, each with batch norm, all but the last with ReLU.

    One entry of the result per layer, so that `head[:1]` is its first. Chen et al. 2020 (SimCLRv2), arXiv:2006.10029.
    """
    pairs = list(pairwise(widths))
    return nn.Sequential(*(projection_layer(a, b, relu=i < len(pairs)) for i, (a, b) in enumerate(pairs, 1)))


def projection_layer(inside: int, outside: int, *, relu: bool) -> nn.Sequential:
    """Linear without bias (the norm has one), batch norm, ReLU."""
    return nn.Sequential(
        nn.Linear(inside, outside, bias=False), nn.BatchNorm1d(outside), nn.ReLU() if relu else nn.Identity()
    )
