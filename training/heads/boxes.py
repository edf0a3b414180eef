"""Boxes of things in a voxel grid: a pyramid's levels put together at its finest, of which every cell answers.

The feature pyramid and anchor-free head of Hu et al. 2023 (NeRF-RPN), arXiv:2211.11646, on one map that may be finer
than the pyramid, for grids that are coarse already; its boxes lie along the axes.
"""
# B batch, C channels, N cells, K labels, R voxels of a side

from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.modalities import Arrays
from training.blocks.up3d import UpBlock3D
from training.encoders import Encoder
from training.encoders.swin3d import PATCH, Swin3D
from training.heads import GraphModule, Head

_RARE = 0.01  # how sure a cell is of a label before it has learnt anything


class BoxesConfig(BaseModel, frozen=True, extra="forbid"):
    labels: tuple[str, ...] = Field(min_length=1)
    width: int = Field(64, ge=8)
    depth: int = Field(4, ge=1)  # convolutions before the answers
    finer: int = Field(0, ge=0, le=2)  # how many times twice as fine as the pyramid the map is


class Boxes(Head):
    """Answers in voxels of the encoder's grid."""

    task, truth = "detect", "boxes"
    Config = BoxesConfig
    config: BoxesConfig
    cells: Tensor  # [N, 3], middles

    def __init__(self, encoder: Encoder, config: BoxesConfig):
        super().__init__(encoder, config)
        assert isinstance(encoder, Swin3D)
        C = config.width
        self.side = PATCH // 2**config.finer  # voxels of a cell
        self.lateral = nn.ModuleList(nn.Conv3d(width, C, 1) for width in encoder.config.widths)
        self.ups = nn.ModuleList(UpBlock3D(C, C) for _ in range(config.finer))
        self.tower = nn.Sequential(*(layer for _ in range(config.depth) for layer in _layers(C)))
        self.label, self.box, self.central = (nn.Conv3d(C, out, 1) for out in (len(config.labels), 6, 1))
        nn.init.zeros_(self.box.weight)
        nn.init.constant_(self.label.bias, float(np.log(_RARE / (1 - _RARE))))  # type: ignore[arg-type]
        middles = (torch.arange(encoder.grid * 2**config.finer) + 0.5) * self.side
        self.register_buffer("cells", torch.cartesian_prod(*(middles,) * 3), persistent=False)
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, levels: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of labels [B, N, K], boxes [B, N, 6] (centre and size in voxels), logits of being central [B, N]."""
        pyramid = [lateral(levels[f"stage{number}"]) for number, lateral in enumerate(self.lateral, 1)]
        inner = pyramid[-1]
        for finer in pyramid[-2::-1]:
            inner = finer + F.interpolate(inner, scale_factor=2.0, mode="nearest")
        for up in self.ups:
            inner = up(inner)
        inner = self.tower(inner)
        label, box, central = (
            layer(inner).flatten(2).transpose(1, 2) for layer in (self.label, self.box, self.central)
        )
        centre = self.cells + self.side * box[..., :3]
        size = 2 * self.side * box[..., 3:].clamp(-6, 6).exp()
        return label, torch.cat([centre, size], -1), central[..., 0]

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes [B, N, 7], scores [B, N, K]; a cell beyond the place answers for nothing."""
        label, box, central = self(encoder(inputs).features)
        inside = F.max_pool3d(inputs["valid"][:, None], self.side).flatten(1)  # [B, N]
        scores = (label.sigmoid() * central.sigmoid()[..., None]).sqrt() * inside[..., None]
        return F.pad(box, (0, 1)), scores

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        return {"detect": self.complete(encoder, inputs, {0: "batch"}, "out_boxes", "out_scores")}

    def spec(self) -> dict[str, Any]:
        return {"labels": list(self.config.labels), "graph": "detect"}


def _layers(width: int) -> tuple[nn.Module, ...]:
    return nn.Conv3d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU()


HEAD = Boxes
