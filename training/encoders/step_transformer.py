"""A transformer over the steps of a series, uneven ones too; all its tokens side by side are the embedding.

The light curve encoder of Rizhko and Bloom 2024 (AstroM3), arXiv:2411.08842, which is that of Zhou et al. 2021
(Informer), arXiv:2012.07436, with full attention in place of the sampled one: that is for far longer series, draws by
chance, and has no graph. Our reading where they are silent: norms stand before attention and MLP, and once at the end.
"""
# B batch, C channels, L steps, D features

import torch
from pydantic import BaseModel, Field
from timm.models.vision_transformer import Block
from torch import nn

from enfold.errors import WrongUse
from training.encoders import Encoded, Encoder, Inputs


class StepTransformerConfig(BaseModel, frozen=True, extra="forbid"):
    """AstroM3's by default."""

    channels: int = Field(2, ge=1)
    dim: int = Field(128, ge=1)
    depth: int = Field(8, ge=1)
    heads: int = Field(4, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    dropout: float = Field(0.25, ge=0, lt=1)


class StepTransformer(Encoder):
    """Inputs {"series": [B, C, L], "measured": [B, C, L], "times": [B, L]}; a step without any value is padding."""

    Config = StepTransformerConfig
    pooling = "tokens of all steps"

    def __init__(self, config: StepTransformerConfig, size: int):
        """size   steps of a window"""
        super().__init__()
        if config.dim % config.heads:
            raise WrongUse(f"encoder 'step_transformer': dim {config.dim} must be a multiple of heads {config.heads}")
        D, rate = config.dim, config.dropout
        self.config, self.dim = config, size * D
        self.embed = nn.Linear(1 + config.channels, D)
        self.place = nn.Parameter(torch.randn(size, D) * 0.02)
        self.dropout = nn.Dropout(rate)
        self.blocks = nn.ModuleList(
            Block(D, config.heads, config.mlp_ratio, qkv_bias=True, proj_drop=rate) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(D)

    def forward(self, inputs: Inputs) -> Encoded:
        real = inputs["measured"].amax(1) > 0  # [B, L]
        rows = torch.cat([inputs["times"][:, None], inputs["series"]], 1).transpose(1, 2)  # [B, L, 1 + C]
        tokens = self.dropout(self.embed(rows) + self.place)
        own = torch.eye(real.shape[1], dtype=torch.bool, device=real.device)  # so that padding looks somewhere
        sight = (real[:, None] | own)[:, None]  # [B, 1, L, L], True = a token looks there
        for block in self.blocks:
            tokens = block(tokens, attn_mask=sight)
        tokens = self.norm(tokens) * real[..., None]
        return Encoded(tokens, tokens.flatten(1), real)


ENCODER = StepTransformer
