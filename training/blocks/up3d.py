"""One step of a U-shaped 3-D decoder: twice as fine, with what the encoder knew at that resolution.

Hatamizadeh et al. 2022 (UNETR), arXiv:2103.10504.
"""
# B batch, C channels, X Y Z cells

import torch
from torch import Tensor, nn

from training.encoders.stunet import residual_blocks


class UpBlock3D(nn.Module):
    """[B, before, X, Y, Z] and the encoder's map [B, skip, 2X, 2Y, 2Z], if there is one -> [B, after, 2X, 2Y, 2Z]."""

    def __init__(self, before: int, after: int, skip: int = 0):
        super().__init__()
        self.up = nn.ConvTranspose3d(before, after, 2, 2)
        self.merge = residual_blocks(after + skip, after, 1)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        fine = self.up(x)
        merged: Tensor = self.merge(fine if skip is None else torch.cat([fine, skip], 1))
        return merged
