"""STU-Net's decoder: from the deepest level of a pyramid back to voxels, with a map of classes at every level.

Huang et al. 2023 (STU-Net), arXiv:2304.06716. Upsampling has no weights, so that none depends on the strides.
"""
# B batch, C channels, K classes, X Y Z voxels

from itertools import pairwise
from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.encoders.stunet import STUNet, residual_blocks
from training.heads import GraphModule, Head


class UNetConfig(BaseModel, frozen=True, extra="forbid"):
    labels: tuple[str, ...] = Field(min_length=2)  # the first is background


class UNet(Head):
    task, truth = "segment", "labels"
    Config = UNetConfig
    config: UNetConfig

    def __init__(self, encoder: Encoder, config: UNetConfig):
        super().__init__(encoder, config)
        assert isinstance(encoder, STUNet)
        widths, depth, self.strides = encoder.config.widths, encoder.config.depth, encoder.config.steps
        self.narrow = nn.ModuleList(nn.Conv3d(coarse, fine, 1) for fine, coarse in pairwise(widths))
        self.merge = nn.ModuleList(residual_blocks(2 * fine, fine, depth) for fine in widths[:-1])
        self.maps = nn.ModuleList(nn.Conv3d(fine, len(config.labels), 1) for fine in widths[:-1])
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, levels: dict[str, Tensor], *, all_maps: bool = False) -> list[Tensor]:
        """Logits [B, K, X, Y, Z] of the finest level, or of every one, finest first, as training needs them."""
        inner, maps = levels[f"stage{len(levels)}"], []
        for number in reversed(range(len(self.merge))):
            stride, skip = self.strides[number], levels[f"stage{number + 1}"]
            wide = F.interpolate(inner, scale_factor=[float(step) for step in stride], mode="nearest")
            inner = self.merge[number](torch.cat([self.narrow[number](wide), skip], 1))
            if all_maps or number == 0:
                maps.append(self.maps[number](inner))
        return maps[::-1]

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
        """Logits of voxels, [B, K, X, Y, Z]."""
        finest: Tensor = self(encoder(inputs).features)[0]
        return finest

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        return {"segment": self.complete(encoder, inputs, {0: "batch"}, "out_segment")}

    def spec(self) -> dict[str, Any]:
        return {"labels": list(self.config.labels), "graph": "segment"}


HEAD = UNet
