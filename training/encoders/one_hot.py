"""Every token as itself: 1 in the place of its number, and nothing learnt. What any encoder of tokens must beat."""
# B batch, T tokens, V vocabulary

import torch
from pydantic import BaseModel, Field
from torch import nn

from training.encoders import Encoded, Encoder, Inputs


class OneHotConfig(BaseModel, frozen=True, extra="forbid"):
    special: int = Field(0, ge=0)  # tokens below this number stand for nothing in the item: no part of the mean


class OneHot(Encoder):
    """Inputs {"input_ids", "attention_mask": [B, T]}; the embedding is how often each token stands in the item."""

    Config = OneHotConfig
    pooling = "mean of tokens"

    def __init__(self, config: OneHotConfig, size: int):
        """size   of the vocabulary"""
        super().__init__()
        self.config, self.dim = config, size
        self.net = nn.Embedding.from_pretrained(torch.eye(size))

    def forward(self, inputs: Inputs) -> Encoded:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        tokens = self.net(ids)  # [B, T, V]
        weights = (mask * (ids >= self.config.special))[..., None].to(tokens.dtype)
        return Encoded(tokens, (tokens * weights).sum(1) / weights.sum(1), mask.bool())


ENCODER = OneHot
