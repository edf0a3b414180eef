"""A transformer of rows: tokens come from the names of columns and what stands under them, so any table goes through.

Wang and Sun, "TransTab: Learning Transferable Tabular Transformers Across Tables", NeurIPS 2022, arXiv:2205.09328.
Where paper and released code differ the code is followed: the gate is one number for each token and weighs the inner
layer of the feed-forward part.
"""
# B batch, N tokens of a row, W pieces of a column's name, D features

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities.table import NUMBER
from training.encoders import Encoded, Encoder, Inputs


class ColumnTransformerConfig(BaseModel, frozen=True, extra="forbid"):
    """TransTab's by default."""

    dim: int = Field(128, ge=1)
    depth: int = Field(2, ge=1)
    heads: int = Field(8, ge=1)
    inner: int = Field(256, ge=1)  # width of the feed-forward part


class ColumnTransformer(Encoder):
    """Inputs {"pieces": [B, N, W], "values": [B, N], "kinds": [B, N]}; order and padding count for nothing."""

    Config = ColumnTransformerConfig
    pooling = "token of the row (CLS)"

    def __init__(self, config: ColumnTransformerConfig, size: int):
        """size   of the vocabulary, with 0 for no piece"""
        super().__init__()
        if config.dim % config.heads:
            raise WrongUse(f"encoder 'column_transformer': dim {config.dim} must be a multiple of heads {config.heads}")
        self.config, self.dim = config, config.dim
        D, reach = config.dim, config.dim**-0.5
        words = nn.Embedding(size, D, padding_idx=0)
        nn.init.kaiming_normal_(words.weight)
        self.net = nn.ModuleDict(
            {
                "words": words,
                "norm": nn.LayerNorm(D),
                "align": nn.Linear(D, D, bias=False),
                "blocks": nn.ModuleList(GatedBlock(config) for _ in range(config.depth)),
            }
        )
        self.number_bias = nn.Parameter(torch.empty(D).uniform_(-reach, reach))
        self.cls_token = nn.Parameter(torch.empty(D).uniform_(-reach, reach))

    def forward(self, inputs: Inputs) -> Encoded:
        columns, real = self.columns(inputs)
        tokens = torch.cat([self.cls_token.expand(len(columns), 1, -1), columns], 1)  # [B, 1 + N, D]
        mask = torch.cat([torch.ones_like(real[:, :1]), real], 1)
        for block in self.net["blocks"]:
            tokens = block(tokens, mask)
        tokens = tokens * mask[..., None]
        return Encoded(tokens, tokens[:, 0], mask)

    def columns(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, D] before attention, and which of them are real [B, N]."""
        pieces, kinds = inputs["pieces"], inputs["kinds"]
        there = (pieces > 0).to(inputs["values"].dtype)[..., None]  # [B, N, W, 1]
        names = (self.net["norm"](self.net["words"](pieces)) * there).sum(2) / there.sum(2).clamp(min=1)
        is_number = (kinds == NUMBER).to(names.dtype)[..., None]
        aligned: Tensor = self.net["align"](names * inputs["values"][..., None] + is_number * self.number_bias)
        return aligned, kinds > 0


class GatedBlock(nn.Module):
    """Attention, then a feed-forward part whose inner layer is weighed token by token; norms come after each."""

    def __init__(self, config: ColumnTransformerConfig):
        super().__init__()
        D = config.dim
        self.heads = config.heads
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.gate = nn.Linear(D, 1, bias=False)
        self.widen, self.narrow = nn.Linear(D, config.inner), nn.Linear(config.inner, D)
        self.norm_attention, self.norm_fed = nn.LayerNorm(D), nn.LayerNorm(D)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens [B, N, D], mask [B, N] (True = real, one of each row at least) -> [B, N, D]"""
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, 2))
        # Spelt out: torch's fused attention is exported with a guard for rows that are masked altogether.
        scores = (q @ k.transpose(2, 3)) * q.shape[3] ** -0.5  # [B, H, N, N]
        looked = scores.masked_fill(~mask[:, None, None], -1e9).softmax(3)
        tokens = self.norm_attention(tokens + self.out((looked @ v).transpose(1, 2).flatten(2)))
        inner = torch.sigmoid(self.gate(tokens)) * self.widen(tokens)
        fed: Tensor = self.norm_fed(tokens + self.narrow(F.relu(inner)))
        return fed


ENCODER = ColumnTransformer
