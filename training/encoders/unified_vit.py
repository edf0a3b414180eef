"""A vision transformer of images and volumes: only the patch embedding knows how many dimensions there are.

Cai et al., "Uni4Eye: Unified 2D and 3D Self-supervised Pre-training via Masked Image Modeling Transformer for
Ophthalmic Image Classification", MICCAI 2022, arXiv:2203.04614. Blocks are timm's.
"""
# B batch, N patches, K visible ones, D features

from typing import Literal

import torch
from pydantic import BaseModel, Field
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from enfold.errors import WrongUse
from training.blocks.patches import positions
from training.encoders import Encoded, Encoder, Inputs


class UnifiedViTConfig(BaseModel, frozen=True, extra="forbid"):
    """ViT-B/16 by default."""

    image_patch: int = Field(16, ge=1)  # pixels a side
    volume_patch: int = Field(16, ge=1)  # voxels a side
    dim: int = Field(768, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(12, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    pool: Literal["mean", "class"] = "mean"  # of the patch tokens, or the class token


class UnifiedViT(Encoder):
    """Inputs {"image": [B, 3, H, W]} or {"volume": [B, 1, X, Y, Z]}, one of them in a batch.

    Positions are fixed, so sides of any multiple of the patch pass. `features["first"]` is the class token [B, D].
    """

    Config = UnifiedViTConfig

    def __init__(self, config: UnifiedViTConfig, size: int):
        """size   voxels a side of a volume"""
        super().__init__()
        if size % config.volume_patch or config.dim % config.heads:
            raise WrongUse(
                f"encoder 'unified_vit': size {size} must be a multiple of volume_patch {config.volume_patch}, "
                f"and dim {config.dim} of heads {config.heads}"
            )
        self.config, self.dim = config, config.dim
        self.pooling = "class token" if config.pool == "class" else "mean of patch tokens"
        self.embed = nn.ModuleDict(
            {
                "image": nn.Conv2d(3, config.dim, config.image_patch, stride=config.image_patch),
                "volume": nn.Conv3d(1, config.dim, config.volume_patch, stride=config.volume_patch),
            }
        )
        for convolution in self.embed.values():  # as the linear layer that it is
            assert isinstance(convolution.weight, Tensor)
            nn.init.xavier_uniform_(convolution.weight.view(config.dim, -1))
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        nn.init.normal_(self.class_token, std=0.02)
        blocks = (Block(config.dim, config.heads, config.mlp_ratio, qkv_bias=True) for _ in range(config.depth))
        self.net = nn.ModuleDict({"blocks": nn.ModuleList(blocks), "norm": nn.LayerNorm(config.dim)})

    def forward(self, inputs: Inputs, *, visible: Tensor | None = None) -> Encoded:
        """visible [B, K]: only these patches are looked at, in that order; training alone leaves any out."""
        [(kind, values)] = inputs.items()
        grid = self.embed[kind](values)  # [B, D, *S / patch]
        x = grid.flatten(2).transpose(1, 2)  # [B, N, D]
        x = x + positions(tuple(grid.shape[2:]), self.dim, x)
        if visible is not None:
            x = x.gather(1, visible[..., None].expand(-1, -1, self.dim))
        x = torch.cat([self.class_token.to(x.dtype).expand(len(x), -1, -1), x], 1)
        for block in self.net["blocks"]:
            x = block(x)
        x = self.net["norm"](x)
        first, tokens = x[:, 0], x[:, 1:]
        return Encoded(tokens, first if self.config.pool == "class" else tokens.mean(1), features={"first": first})


ENCODER = UnifiedViT
