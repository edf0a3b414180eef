"""Vision transformer: patches and a class token through pre-norm blocks (timm's).

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929.
"""
# B batch, N patches, D features

from typing import Literal

from pydantic import BaseModel, Field
from timm.models.vision_transformer import VisionTransformer

from enfold.errors import WrongUse
from training.encoders import Encoded, Encoder, Inputs


class ViTConfig(BaseModel, frozen=True, extra="forbid"):
    """ViT-S/16 by default."""

    patch: int = Field(16, ge=1)  # pixels a side
    dim: int = Field(384, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    pool: Literal["mean", "class"] = "mean"  # of the patch tokens, or the class token


class ViT(Encoder):
    """`features["block1"]` … hold each block's patch tokens [B, N, D] before the last norm."""

    Config = ViTConfig

    def __init__(self, config: ViTConfig, size: int):
        super().__init__()
        if size % config.patch or config.dim % config.heads:
            raise WrongUse(
                f"encoder 'vit': size {size} must be a multiple of patch {config.patch}, "
                f"and dim {config.dim} of heads {config.heads}"
            )
        self.config, self.dim = config, config.dim
        self.num_tokens = (size // config.patch) ** 2
        self.pooling = "class token" if config.pool == "class" else "mean of patch tokens"
        self.net = VisionTransformer(
            img_size=size,
            patch_size=config.patch,
            embed_dim=config.dim,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            num_classes=0,
        )

    def forward(self, inputs: Inputs) -> Encoded:
        final, blocks = self.net.forward_intermediates(
            inputs["image"], output_fmt="NLC"
        )  # [B, 1 + N, D], depth x [B, N, D]
        tokens = final[:, 1:]
        embedding = final[:, 0] if self.config.pool == "class" else tokens.mean(1)
        return Encoded(tokens, embedding, features={f"block{i}": block for i, block in enumerate(blocks, start=1)})


ENCODER = ViT
