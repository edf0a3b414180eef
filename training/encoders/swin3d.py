"""A 3-D Swin transformer of voxel grids: attention within windows that are shifted in turn, coarser by the stage.

Liu et al. 2021 (Swin), arXiv:2103.14030; in three dimensions and with NeRF-MAE's patches and fixed positions, Irshad et
al. 2024, arXiv:2404.01300. A grid that is no multiple of the window is filled up, and nobody attends to the filling.
"""
# B batch, G cells of a side, N = G ** 3 cells, W windows, n cells of a window, C channels, R voxels of a side

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field, model_validator
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from training.encoders import Encoded, Encoder, Inputs

PATCH = 4  # voxels of a side, as the decoders of this house expect


class Swin3DConfig(BaseModel, frozen=True, extra="forbid"):
    """NeRF-MAE's Swin-S by default."""

    dim: int = Field(96, ge=6)  # of the first stage; each next has twice as many
    depths: tuple[int, ...] = Field((2, 2, 18, 2), min_length=1)  # blocks of each stage
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = Field(4, ge=2)  # cells of a side
    mlp_ratio: float = Field(4.0, gt=0)
    drop_path: float = Field(0.1, ge=0, lt=1)  # of the last block, rising from 0

    @model_validator(mode="after")
    def _heads_fit(self) -> "Swin3DConfig":
        if len(self.heads) != len(self.depths):
            raise ValueError(f"{len(self.depths)} stages have as many numbers of heads, not {len(self.heads)}")
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"the {width} channels of a stage are no multiple of its {heads} heads")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.dim * 2**stage for stage in range(len(self.depths)))


class Swin3D(Encoder):
    """Inputs {"radiance": [B, 4, R, R, R], "valid": [B, R, R, R]}.

    `features["stage1"]` … hold the pyramid [B, C, G, G, G], finest first; tokens are the last level's cells.
    """

    Config = Swin3DConfig
    pooling = "mean of the cells that hold some of the place"

    def __init__(self, config: Swin3DConfig, size: int):
        super().__init__()
        self.stride = PATCH * 2 ** (len(config.depths) - 1)
        if size % self.stride:
            raise WrongUse(f"encoder 'swin3d': {size} voxels a side must be a multiple of {self.stride}")
        self.config, self.dim, self.grid = config, config.widths[-1], size // PATCH
        drops = iter(torch.linspace(0, config.drop_path, sum(config.depths)).tolist())
        stages = []
        for number, (width, depth, heads) in enumerate(zip(config.widths, config.depths, config.heads, strict=True)):
            side = self.grid // 2**number
            window = min(config.window, side)
            shifts = [0 if block % 2 == 0 or window == side else window // 2 for block in range(depth)]
            stages.append(
                nn.ModuleList(
                    SwinBlock(width, side, heads, window, shift, config.mlp_ratio, next(drops)) for shift in shifts
                )
            )
        parts: dict[str, nn.Module] = {
            "patches": nn.Conv3d(4, config.dim, PATCH, PATCH),
            "patch_norm": nn.LayerNorm(config.dim),
            "stages": nn.ModuleList(stages),
            "merges": nn.ModuleList(Merge(before) for before, _ in pairwise(config.widths)),
            "norms": nn.ModuleList(nn.LayerNorm(width) for width in config.widths),
        }
        self.net: Any = nn.ModuleDict(parts)
        self.register_buffer("places", positions(self.grid, config.dim), persistent=False)

    def patches(self, radiance: Tensor) -> Tensor:
        """What each patch is and where it lies: [B, 4, R, R, R] -> [B, G, G, G, C]."""
        found: Tensor = self.net["patch_norm"](self.net["patches"](radiance).movedim(1, -1)) + self.places
        return found

    def levels(self, x: Tensor) -> list[Tensor]:
        """[B, G, G, G, C] through every stage: its cells, normed, [B, C, G, G, G] each, finest first."""
        found = []
        for number, blocks in enumerate(self.net["stages"]):
            if number:
                x = self.net["merges"][number - 1](x)
            for block in blocks:
                x = block(x)
            found.append(self.net["norms"][number](x).movedim(-1, 1))
        return found

    def forward(self, inputs: Inputs) -> Encoded:
        levels = self.levels(self.patches(inputs["radiance"]))
        tokens = levels[-1].flatten(2).transpose(1, 2)  # [B, N, C]
        valid = F.max_pool3d(inputs["valid"][:, None], self.stride).flatten(1)  # [B, N]
        mean = (tokens * valid[..., None]).sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
        features = {f"stage{number}": level for number, level in enumerate(levels, 1)}
        return Encoded(tokens, mean, token_mask=valid > 0, features=features)


class SwinBlock(nn.Module):
    """Attention within windows and an MLP, both with the input past them: [B, G, G, G, C] -> the same."""

    way_index: Tensor  # [n, n]
    apart: Tensor  # [W, 1, n, n], 0 or -inf

    def __init__(self, width: int, side: int, heads: int, window: int, shift: int, mlp_ratio: float, drop: float):
        super().__init__()
        self.heads, self.window, self.shift, self.side = heads, window, shift, side
        self.filled = -(-side // window) * window
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.way_embed = nn.Parameter(torch.zeros((2 * window - 1) ** 3, heads))
        nn.init.trunc_normal_(self.way_embed, std=0.02)
        self.drop = DropPath(drop)
        self.register_buffer("way_index", relative_index(window), persistent=False)
        self.register_buffer("apart", separation(side, window, shift), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attend(self.norm1(x)))
        inner: Tensor = self.mlp(self.norm2(x))
        return x + self.drop(inner)

    def attend(self, x: Tensor) -> Tensor:
        lacking, shift, side = self.filled - self.side, self.shift, self.side
        if lacking:
            x = F.pad(x, (0, 0, 0, lacking, 0, lacking, 0, lacking))
        if shift:
            x = torch.roll(x, (-shift, -shift, -shift), (1, 2, 3))
        C = x.shape[-1]
        found = joined(self._attend(windows(x, self.window)), self.window, self.filled, C)
        if shift:
            found = torch.roll(found, (shift, shift, shift), (1, 2, 3))
        return found[:, :side, :side, :side]

    def _attend(self, x: Tensor) -> Tensor:
        """[B, W, n, C] -> the same."""
        W, n, C = x.shape[1:]
        query, key, value = self.qkv(x).reshape(-1, W, n, 3, self.heads, C // self.heads).permute(3, 0, 1, 4, 2, 5)
        bias = self.way_embed[self.way_index.flatten()].reshape(n, n, self.heads).permute(2, 0, 1)
        scores = query @ key.transpose(-1, -2) * (C // self.heads) ** -0.5 + (bias + self.apart)  # [B, W, h, n, n]
        mixed: Tensor = self.project((scores.softmax(-1) @ value).transpose(2, 3).reshape(-1, W, n, C))
        return mixed


class Merge(nn.Module):
    """Eight neighbours into one cell of twice the channels: [B, G, G, G, C] -> [B, G/2, G/2, G/2, 2C]."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(8 * width), nn.Linear(8 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        G, C = x.shape[1] // 2, x.shape[-1]
        eight = x.reshape(-1, G, 2, G, 2, G, 2, C).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, G, G, G, 8 * C)
        merged: Tensor = self.reduce(self.norm(eight))
        return merged


def windows(x: Tensor, side: int) -> Tensor:
    """[B, G, G, G, C] cut into [B, W, n, C]."""
    count, C = x.shape[1] // side, x.shape[-1]
    cut = x.reshape(-1, count, side, count, side, count, side, C).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return cut.reshape(-1, count**3, side**3, C)


def joined(x: Tensor, side: int, grid: int, width: int) -> Tensor:
    """What `windows` has cut, put together."""
    count = grid // side
    cut = x.reshape(-1, count, count, count, side, side, side, width).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return cut.reshape(-1, grid, grid, grid, width)


def relative_index(window: int) -> Tensor:
    """For each pair of cells of a window, which of the (2 window - 1) ** 3 ways from one to the other it is, [n, n]."""
    cells = torch.cartesian_prod(*(torch.arange(window),) * 3)  # [n, 3]
    ways = cells[:, None] - cells + window - 1
    return (ways * torch.tensor([(2 * window - 1) ** 2, 2 * window - 1, 1])).sum(-1)


def separation(side: int, window: int, shift: int) -> Tensor:
    """-inf for pairs of cells of a window that came into it from two ends of the grid or from its filling, else 0.

    [W, 1, n, n], as it is added to attention's scores of shifted windows.
    """
    filled = -(-side // window) * window
    axis = torch.zeros(filled, dtype=torch.int64)
    if shift:
        axis[-window:-shift], axis[-shift:] = 1, 2
    region = axis[:, None, None] * 9 + axis[:, None] * 3 + axis
    real = torch.zeros(filled, filled, filled, dtype=torch.int64)
    real[:side, :side, :side] = 1
    real = torch.roll(real, (-shift,) * 3, (0, 1, 2))
    own = windows((region * 2 + real)[None, ..., None], window)[0, :, :, 0]  # [W, n]
    alike = own[:, :, None] == own[:, None]
    return torch.zeros(alike.shape).masked_fill(~alike, -torch.inf)[:, None]


def positions(side: int, width: int) -> Tensor:
    """Fixed sines and cosines of each cell's place along x, y, z, [G, G, G, C]; channels that are left over are 0."""
    each = width // 6
    speed = 1 / 10_000 ** (np.arange(each) / each)
    angle = np.arange(side)[:, None] * speed
    along = np.concatenate([np.sin(angle), np.cos(angle)], 1)  # [G, 2 each]
    found = np.zeros((side, side, side, width), np.float32)
    found[..., : 2 * each] = along[:, None, None]
    found[..., 2 * each : 4 * each] = along[:, None]
    found[..., 4 * each : 6 * each] = along
    return torch.from_numpy(found)


ENCODER = Swin3D
