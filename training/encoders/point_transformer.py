"""A transformer of point patches: a small PointNet makes a token of each, its centre tells where it lies.

Pang et al., "Masked Autoencoders for Point Cloud Self-supervised Learning" (Point-MAE), ECCV 2022, arXiv:2203.06604.
Blocks are timm's.
"""
# B batch, G patches, K points of a patch, V visible patches, D width

from itertools import pairwise

import torch
from pydantic import BaseModel, Field
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from enfold.errors import WrongUse
from training.encoders import Encoded, Encoder, Inputs


class PointTransformerConfig(BaseModel, frozen=True, extra="forbid"):
    """Point-MAE's by default."""

    dim: int = Field(384, ge=1)  # of a token; the embedding has twice as many
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    drop_path: float = Field(0.1, ge=0, lt=1)  # of the last block, rising from 0
    point_widths: tuple[int, int] = (128, 256)  # of a point on its own
    patch_width: int = Field(512, ge=1)  # of a point that knows its patch


class PointTransformer(Encoder):
    """Inputs {"centres": [B, G, 3], "patches": [B, G, K, 3]}; the order of patches and of their points is nothing."""

    Config = PointTransformerConfig

    def __init__(self, config: PointTransformerConfig, size: int, *, columns: int = 3, places: int = 3):
        """
        size      points of a patch, of which it takes any number
        columns   of a point
        places    columns that tell where a patch lies
        """
        super().__init__()
        if config.dim % config.heads:
            name = type(self).__module__.rpartition(".")[2]
            raise WrongUse(f"encoder '{name}': dim {config.dim} must be a multiple of heads {config.heads}")
        self.config, self.dim = config, 2 * config.dim
        self.pooling = "maximum and mean of patch tokens"
        D, (near, whole) = config.dim, config.point_widths
        self.points, self.patch = _of_points(columns, near, whole), _of_points(2 * whole, config.patch_width, D)
        self.place = place_layers(D, places)
        drops = torch.linspace(0, config.drop_path, config.depth).tolist()
        blocks = (Block(D, config.heads, config.mlp_ratio, qkv_bias=True, drop_path=drop) for drop in drops)
        self.net = nn.ModuleDict({"blocks": nn.ModuleList(blocks), "norm": nn.LayerNorm(D)})

    def tokens(self, patches: Tensor) -> Tensor:
        """What each patch is, wherever it lies: [B, G, K, 3] -> [B, G, D]."""
        B, G = patches.shape[:2]
        alone = self.points(patches.flatten(0, 1).transpose(1, 2))  # [BG, F, K]
        return self.pooled(alone).unflatten(0, (B, G))

    def pooled(self, alone: Tensor) -> Tensor:
        """Points that each know themselves [BG, F, K] -> what they are together [BG, D]."""
        together = alone.max(2, keepdim=True).values.expand_as(alone)
        found: Tensor = self.patch(torch.cat([together, alone], 1)).max(2).values
        return found

    def attend(self, tokens: Tensor, centres: Tensor) -> Tensor:
        """Tokens [B, V, D] at centres [B, V, 3] through every block, each told again where they lie."""
        places = self.place(centres)
        for block in self.net["blocks"]:
            tokens = block(tokens + places)
        found: Tensor = self.net["norm"](tokens)
        return found

    def forward(self, inputs: Inputs) -> Encoded:
        x = self.attend(self.tokens(inputs["patches"]), inputs["centres"])
        return Encoded(x, torch.cat([x.max(1).values, x.mean(1)], 1))


def place_layers(dim: int, places: int = 3) -> nn.Sequential:
    """[…, places] -> […, D]"""
    return nn.Sequential(nn.Linear(places, min(128, dim)), nn.GELU(), nn.Linear(min(128, dim), dim))


def _of_points(*widths: int) -> nn.Sequential:
    """Layers on each point alone, norms and ReLU between them: [B, F, K] -> [B, F', K]."""
    layers: list[nn.Module] = []
    for number, (inside, outside) in enumerate(pairwise(widths)):
        layers += [nn.BatchNorm1d(inside), nn.ReLU()] if number else []
        layers.append(nn.Conv1d(inside, outside, 1))
    return nn.Sequential(*layers)


ENCODER = PointTransformer
