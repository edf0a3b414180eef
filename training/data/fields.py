"""Fits a radiance field to views of a place: density and colour on a grid, by what volume rendering makes of them.

The direct grid of Sun et al. 2022 (DVGO), arXiv:2111.11215, with plain trilinear values and no network: rays take
samples, and the mean square of colours is brought down by Adam.
"""
# N rays, S samples of a ray, X Y Z voxels

import numpy as np
import torch
from torch.nn import functional as F

STEPS, RAYS, SAMPLES = 150, 1024, 48
_LR = 0.3
_EMPTY = -6.0  # before softplus: what no ray has ever met stays all but empty
_DENSE = 25.0  # per metre, at a softplus of 1
_SMOOTH = 2e-3  # weight of differences between neighbours' colours
# Weight of rays that stop halfway: Barron et al. 2022 (Mip-NeRF 360), arXiv:2111.12077, in its simplest form.
_SHARP = 1e-2


def fit(
    starts: np.ndarray,
    ways: np.ndarray,
    colours: np.ndarray,
    bounds: np.ndarray,
    shape: tuple[int, int, int],
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Density per metre float32 [X, Y, Z] and colours float32 [X, Y, Z, 3] of a field that explains the rays.

    starts, ways, colours   [N, 3]; ways are of length 1 and colours from 0 to 1; every ray ends within the bounds
    bounds                  [2, 3], metres
    """
    chance = torch.Generator().manual_seed(seed)
    box = torch.tensor(bounds, dtype=torch.float32)
    start, way, want = (torch.tensor(values, dtype=torch.float32) for values in (starts, ways, colours))
    far = ((torch.where(way > 0, box[1], box[0]) - start) / torch.where(way == 0, 1e-9, way)).amin(1)  # [N]
    raw = torch.zeros(1, 4, *shape)
    raw[:, 3] = _EMPTY
    raw.requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=_LR)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = _LR * 0.1 ** (step / STEPS)
        rays = torch.randint(len(start), (RAYS,), generator=chance)
        depth = (torch.arange(SAMPLES) + torch.rand(RAYS, SAMPLES, generator=chance)) / SAMPLES * far[rays, None]
        points = start[rays, None] + depth[..., None] * way[rays, None]  # [N, S, 3]
        colour, weights = _rendered(raw, (points - box[0]) / (box[1] - box[0]) * 2 - 1, depth)
        loss = (colour - want[rays]).square().mean() + _SMOOTH * _roughness(raw) + _SHARP * _spread(weights, depth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        density, rgb = _DENSE * F.softplus(raw[0, 3]), torch.sigmoid(raw[0, :3])
    return density.numpy(), np.moveaxis(rgb.numpy(), 0, -1)


def _rendered(raw: torch.Tensor, points: torch.Tensor, depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours [N, 3] and the weights of their samples [N, S]; points [N, S, 3] lie in [-1, 1]."""
    # grid_sample takes the last axis of a grid first.
    found = F.grid_sample(raw, points.flip(-1)[None, None], align_corners=False, padding_mode="border")[0, :, 0]
    density, rgb = _DENSE * F.softplus(found[3]), torch.sigmoid(found[:3])  # [N, S], [3, N, S]
    step = torch.cat([depth[:, 1:] - depth[:, :-1], depth[:, -1:] * 0 + 1e3], 1)  # the last sample ends every ray
    passed = density * step
    left = torch.exp(-torch.cat([passed[:, :1] * 0, passed[:, :-1].cumsum(1)], 1))
    weights = left * -torch.expm1(-passed)
    return (weights * rgb).sum(2).T, weights


def _roughness(raw: torch.Tensor) -> torch.Tensor:
    """Mean square difference of neighbours' colours, before the sigmoid."""
    colours = raw[:, :3]
    return torch.stack([colours.diff(dim=axis).square().mean() for axis in (2, 3, 4)]).sum()


def _spread(weights: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Mean variance of where rays end, square metres: a surface is thin."""
    mean = (weights * depth).sum(1, keepdim=True)
    return (weights * (depth - mean).square()).sum(1).mean()
