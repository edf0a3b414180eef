"""Residual network: four stages of convolutions, each half the resolution of the last (timm's).

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.
"""
# B batch, C channels, H W height and width, D features

from typing import Literal

from pydantic import BaseModel, Field
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.resnet import ResNet as TimmResNet
from torch import nn

from training.encoders import Encoded, Encoder, Inputs

_BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNetConfig(BaseModel, frozen=True, extra="forbid"):
    """ResNet-18 by default."""

    layers: tuple[int, int, int, int] = (2, 2, 2, 2)  # blocks in each stage
    channels: int = Field(3, ge=1)  # of the input: bands of a raster, colours of an image
    width: int = 64  # channels of the first stage; doubles with each
    block: Literal["basic", "bottleneck"] = "basic"
    stem: Literal["large", "small"] = "large"  # small: one 3x3 convolution at full resolution, for images under 64 px
    dim: int | None = Field(None, ge=1)  # of a 1x1 convolution behind the last stage, whose features are never negative


class ResNet(Encoder):
    """`features["stage1"]` … hold the pyramid [B, C, H, W]; tokens are the last level's cells."""

    Config = ResNetConfig
    pooling = "mean of cells"

    def __init__(self, config: ResNetConfig, size: int):
        super().__init__()
        channels = tuple(config.width * 2**stage for stage in range(4))
        block = _BLOCKS[config.block]
        # timm's plain stem has 64 channels whatever the width; the deep one follows it.
        stem = {} if config.width == 64 else {"stem_type": "deep", "stem_width": config.width // 2}
        self.net = TimmResNet(
            block, list(config.layers), in_chans=config.channels, num_classes=0, channels=channels, **stem
        )
        if config.stem == "small":
            self.net.conv1 = nn.Conv2d(config.channels, config.width, 3, padding=1, bias=False)
            self.net.maxpool = nn.Identity()
        wide = channels[-1] * block.expansion
        self.dim = config.dim or wide
        self.cells = nn.Conv2d(wide, self.dim, 1) if config.dim else nn.Identity()

    def forward(self, inputs: Inputs) -> Encoded:
        final, levels = self.net.forward_intermediates(inputs["image"], indices=[1, 2, 3, 4])
        tokens = self.cells(final).flatten(2).transpose(1, 2)  # [B, N, D]
        return Encoded(tokens, tokens.mean(1), features={f"stage{i}": level for i, level in enumerate(levels, start=1)})


ENCODER = ResNet
