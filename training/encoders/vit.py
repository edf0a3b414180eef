"""Vision transformer: patches and a class token through pre-norm blocks (timm's).

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929.
"""
# B batch, N patches, D features

from typing import Literal

import torch
from pydantic import BaseModel, Field
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from enfold.errors import WrongUse
from training.encoders import Encoded, Encoder, Inputs


class ViTConfig(BaseModel, frozen=True, extra="forbid"):
    """ViT-S/16 by default."""

    patch: int = Field(16, ge=1)  # pixels a side
    channels: int = Field(3, ge=1)  # of an image; of a clip those of all its frames
    dim: int = Field(384, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    pool: Literal["mean", "class"] = "mean"  # of the patch tokens, or the class token
    layer_scale: float | None = Field(None, gt=0)  # what each branch is multiplied by at first; learnt


class ViT(Encoder):
    """`features["block1"]` … hold each block's patch tokens [B, N, D] before the last norm, "first" the class token.

    Images of other sizes pass too: position embeddings are resampled to their grid. The frames of a clip, [B, T, C, H,
    W], are channels of one image, in their order.
    """

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
            in_chans=config.channels,
            embed_dim=config.dim,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            init_values=config.layer_scale,
            num_classes=0,
            dynamic_img_size=True,
        )

    def forward(
        self,
        inputs: Inputs,
        *,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Encoded:
        """Only training hides anything.

        mask      [B, N]  True = `mask_token` [D] stands there instead of the patch
        visible   [B, K]  only these patches are looked at, in that order
        """
        (image,) = inputs.values()
        patches = self.net.patch_embed(image.flatten(1, -3))  # [B, H / patch, W / patch, D]
        if mask is not None and mask_token is not None:
            hidden = mask.unflatten(1, patches.shape[1:3]).unsqueeze(-1)
            patches = mask_token.to(patches.dtype).where(hidden, patches)
        x, features = self.net._pos_embed(patches), {}  # [B, 1 + N, D]
        if visible is not None:
            x = torch.cat([x[:, :1], x[:, 1:].gather(1, visible[..., None].expand(-1, -1, self.dim))], 1)
        for i, block in enumerate(self.net.blocks, start=1):
            x = block(x)
            features[f"block{i}"] = x[:, 1:]
        x = self.net.norm(x)
        first, tokens = x[:, 0], x[:, 1:]
        features["first"] = first
        return Encoded(tokens, first if self.config.pool == "class" else tokens.mean(1), features=features)


ENCODER = ViT
