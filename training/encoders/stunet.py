"""STU-Net's encoder: stages of residual 3-D convolutions, each coarser than the last.

Huang et al., "STU-Net: Scalable and Transferable Medical Image Segmentation Models Empowered by Large-Scale Supervised
Pre-training", 2023, arXiv:2304.06716. No weight depends on the strides, so one state serves every plan of them.
"""
# B batch, C channels, X Y Z voxels, N cells, D features

from itertools import pairwise

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn

from training.encoders import Encoded, Encoder, Inputs

Strides = tuple[int, int, int]


class STUNetConfig(BaseModel, frozen=True, extra="forbid"):
    """Size S by default; depth and width grow together: B 1 and 32 … 512, L 2 and 64 … 1,024, H 3 and 96 … 1,536."""

    widths: tuple[int, ...] = Field((16, 32, 64, 128, 256, 256), min_length=2)  # channels of each stage
    depth: int = Field(1, ge=1)  # residual blocks of each stage
    strides: tuple[Strides, ...] = ()  # between stages; 2 in every direction if left out

    @model_validator(mode="after")
    def _one_for_each_step(self) -> "STUNetConfig":
        if self.strides and len(self.strides) != len(self.widths) - 1:
            raise ValueError(f"{len(self.widths)} stages have {len(self.widths) - 1} strides between them")
        return self

    @property
    def steps(self) -> tuple[Strides, ...]:
        """The strides between stages."""
        return self.strides or ((2, 2, 2),) * (len(self.widths) - 1)


class STUNet(Encoder):
    """`features["stage1"]` … hold the pyramid [B, C, X, Y, Z], finest first; tokens are the last level's cells."""

    Config = STUNetConfig
    pooling = "mean of the deepest cells"

    def __init__(self, config: STUNetConfig, size: int):
        super().__init__()
        self.config, self.dim = config, config.widths[-1]
        strides = ((1, 1, 1), *config.steps)
        widths = pairwise((1, *config.widths))
        self.net = nn.ModuleList(
            residual_blocks(before, after, config.depth, stride)
            for (before, after), stride in zip(widths, strides, strict=True)
        )
        self.to(memory_format=torch.channels_last_3d)  # narrow 3-D convolutions take half the time so on a CPU

    def forward(self, inputs: Inputs) -> Encoded:
        level, levels = inputs["volume"], {}  # [B, 1, X, Y, Z]
        for number, stage in enumerate(self.net, 1):
            level = levels[f"stage{number}"] = stage(level)
        tokens = level.flatten(2).transpose(1, 2)  # [B, N, D]
        return Encoded(tokens, tokens.mean(1), features=levels)


class ResidualBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions with instance norm, and the input past them: by 1 x 1 x 1 where its shape changes."""

    def __init__(self, before: int, after: int, stride: Strides):
        super().__init__()
        self.conv1 = nn.Conv3d(before, after, 3, stride, padding=1)
        self.norm1 = nn.InstanceNorm3d(after, affine=True)
        self.conv2 = nn.Conv3d(after, after, 3, padding=1)
        self.norm2 = nn.InstanceNorm3d(after, affine=True)
        straight = before == after and stride == (1, 1, 1)
        self.shortcut = nn.Identity() if straight else nn.Conv3d(before, after, 1, stride)
        self.activation = nn.LeakyReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(self.norm1(self.conv1(x)))
        result: Tensor = self.activation(self.norm2(self.conv2(inner)) + self.shortcut(x))
        return result


def residual_blocks(before: int, after: int, depth: int, stride: Strides = (1, 1, 1)) -> nn.Sequential:
    """`depth` blocks, of which the first changes width and resolution."""
    blocks = [ResidualBlock(before, after, stride), *(ResidualBlock(after, after, (1, 1, 1)) for _ in range(1, depth))]
    return nn.Sequential(*blocks)


ENCODER = STUNet
