"""Fits 3-D Gaussians to pictures of a coloured surface: what 3D Gaussian splatting does, for one small thing.

Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023, arXiv:2308.04079. Pictures
are synthetic: dense samples of the surface, the nearest one of each pixel, seen from far away, so that projection is
linear. Gaussians are neither split nor removed: as many come out as were put in.
"""
# N surfaces, M samples of one, S Gaussians, V views, P pixels of a picture

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional as F

from enfold.modalities.splats import BLUR, COLUMNS, SHADE

SIDE = 32  # pixels of a picture
STEPS, PIXELS = 100, 128  # of the fit; of one view in each step
THIN = 0.3  # of a first Gaussian's extent along the surface: how thick it is
# Steps in units of what is learnt. The paper's, for 30,000 steps of a large scene, are 2 to 20 times smaller.
RATES = {"xyz": 3e-3, "opacity": 1e-1, "scale": 3e-2, "rotation": 2e-2, "sh": 5e-2}


@dataclass(frozen=True)
class Surface:
    """Samples spread evenly over a surface that lies within 1 of 0."""

    points: np.ndarray  # [M, 3]
    normals: np.ndarray  # [M, 3], of length 1, either way
    shades: np.ndarray  # [M, 3], red, green, blue, 0 to 1


def fitted(surfaces: Sequence[Surface], count: int) -> np.ndarray:
    """`count` splats for each surface, float64 [N, S, 14], that look as it does from all sides.

    Several at a time are faster; each comes out as it would alone.
    """
    views = torch.from_numpy(directions()).float()
    pictures = torch.from_numpy(np.stack([[pictured(one, view, SIDE) for view in directions()] for one in surfaces]))
    pictures = pictures.flatten(2, 3)  # [N, V, P, 4]
    first = torch.from_numpy(np.stack([placed(one, count) for one in surfaces])).float()
    learnt = {
        "xyz": first[..., COLUMNS["xyz"]],
        "opacity": first[..., COLUMNS["opacity"]].logit(),
        "scale": first[..., COLUMNS["scale"]].log(),
        "rotation": first[..., COLUMNS["rotation"]],
        "sh": first[..., COLUMNS["sh"]],
    }
    learnt = {name: values.clone().requires_grad_() for name, values in learnt.items()}
    adam = torch.optim.Adam([{"params": [values], "lr": RATES[name]} for name, values in learnt.items()], eps=1e-15)
    rng, pixels = np.random.default_rng(0), powers(SIDE)
    for view in rng.permutation(STEPS) % len(views):
        some = torch.from_numpy(rng.choice(len(pixels), PIXELS, replace=False))
        adam.zero_grad()
        F.l1_loss(render(_splats(learnt), views[view], pixels[some]), pictures[:, view, some]).backward()
        adam.step()
    with torch.no_grad():
        return _splats(learnt).double().numpy()


def placed(surface: Surface, count: int) -> np.ndarray:
    """Splats [S, 14] to begin with: flat ones on samples of the surface, as wide as these lie apart."""
    chosen = np.sort(np.random.default_rng(0).choice(len(surface.points), count, replace=False))
    place, normal = surface.points[chosen], surface.normals[chosen]
    apart = KDTree(place).query(place, 4)[0][:, 1:].mean(1, keepdims=True).clip(1e-3)  # of the three nearest
    scale = apart * [1, 1, THIN]
    half = np.concatenate([1 + normal[:, 2:], -normal[:, 1:2], normal[:, :1], 0 * normal[:, :1]], 1)  # z to the normal
    half[np.linalg.norm(half, axis=1) < 1e-6] = (0, 1, 0, 0)  # which points straight down
    turn = half / np.linalg.norm(half, axis=1, keepdims=True)
    opacity = np.full((count, 1), 0.8)
    return np.concatenate([place, opacity, scale, turn, (surface.shades[chosen] - 0.5) / SHADE], 1)


def directions() -> np.ndarray:
    """Views from the twelve corners of an icosahedron [12, 3, 3]: columns to the right, upwards (z), away."""
    golden = (1 + np.sqrt(5)) / 2
    corners = [np.roll((0, a, b * golden), shift) for shift in range(3) for a in (-1, 1) for b in (-1, 1)]
    away = -np.array(corners) / np.linalg.norm(corners, axis=1, keepdims=True)
    right = np.cross(away, (0, 0, 1))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(right, away), away], 2)


def pictured(surface: Surface, view: np.ndarray, side: int) -> np.ndarray:
    """What is seen of a surface from far away: red, green, blue and cover, the first three times the last.

    returns   float32 [side, side, 4], from a picture of twice the size, so that edges are soft
    """
    seen = surface.points @ view
    order = np.argsort(-seen[:, 2], kind="stable")  # the nearest last, over all others
    column = ((seen[order, 0] + 1) * side).astype(int).clip(0, 2 * side - 1)
    row = ((1 - seen[order, 1]) * side).astype(int).clip(0, 2 * side - 1)
    large = np.zeros((2 * side, 2 * side, 4), np.float32)
    large[row, column] = np.concatenate([surface.shades[order], np.ones((len(order), 1))], 1)
    small: np.ndarray = large.reshape(side, 2, side, 2, 4).mean((1, 3))
    return small


def render(splats: Tensor, view: Tensor, pixels: Tensor) -> Tensor:
    """What sets of splats [N, S, 14] look like at pixels [P, 6] (`powers`): [N, P, 4], as `pictured` has it.

    As `enfold.modalities.splats.rendered` draws, to be learnt by. The logarithm of a Gaussian times its opacity is a
    polynomial of the pixel's place, so that one product of matrices gives that of all pixels and Gaussians.
    """
    place, scale = splats[..., COLUMNS["xyz"]] @ view, splats[..., COLUMNS["scale"]]
    axes = (rotations(splats[..., COLUMNS["rotation"]]) * scale[..., None, :]).mT @ view[:, :2]  # [N, S, 3, 2]
    blur = BLUR / (SIDE / 2) ** 2
    xx, yy = (axes[..., 0] ** 2).sum(-1) + blur, (axes[..., 1] ** 2).sum(-1) + blur
    xy = (axes[..., 0] * axes[..., 1]).sum(-1)
    size = xx * yy - xy * xy
    a, b, c = yy / size, -xy / size, xx / size
    x, y = place[..., 0], place[..., 1]
    height = splats[..., 3].log() - (a * x * x + 2 * b * x * y + c * y * y) / 2
    polynomial = torch.stack([-a / 2, -b, -c / 2, a * x + b * y, b * x + c * y, height], -1)  # [N, S, 6]
    order = place[..., 2:].argsort(1)  # the nearest first
    cover = (pixels @ polynomial.take_along_dim(order, 1).mT).exp().clamp(max=0.99)  # [N, P, S]
    behind = (1 - cover).log()
    weight = cover * (behind.cumsum(2) - behind).exp()
    shades = (0.5 + SHADE * splats[..., COLUMNS["sh"]]).clamp(0, 1).take_along_dim(order, 1)
    return torch.cat([weight @ shades, weight.sum(2, keepdim=True)], 2)


def rotations(quaternions: Tensor) -> Tensor:
    """Matrices [..., 3, 3] of unit quaternions w, x, y, z."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def powers(side: int) -> Tensor:
    """Of the places of a picture's pixels, row by row from above, [P, 6]: x², xy, y², x, y, 1."""
    middles = (torch.arange(side) + 0.5) / (side / 2) - 1
    y, x = torch.meshgrid(-middles, middles, indexing="ij")
    return torch.stack([x * x, x * y, y * y, x, y, torch.ones_like(x)], 2).flatten(0, 1)


def _splats(learnt: dict[str, Tensor]) -> Tensor:
    """[N, S, 14]"""
    turn = F.normalize(learnt["rotation"], dim=-1)
    return torch.cat([learnt["xyz"], learnt["opacity"].sigmoid(), learnt["scale"].exp(), turn, learnt["sh"]], -1)
