"""Measured values, linear on the embedding: told in their own units, learnt in units of their spread."""
# B items, D features, K values

from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import GraphModule, Head


class ValuesConfig(BaseModel, frozen=True, extra="forbid"):
    units: dict[str, str] = Field(min_length=1)  # value -> its unit
    dropout: float = Field(0.1, ge=0, lt=1)


class Values(Head):
    """embedding [B, D] -> values [B, K]; `mean` and `spread` are those of training."""

    task = "regress"
    Config = ValuesConfig
    config: ValuesConfig
    mean: Tensor
    spread: Tensor

    def __init__(self, encoder: Encoder, config: ValuesConfig):
        super().__init__(encoder, config)
        count = len(config.units)
        self.net = nn.Sequential(nn.LayerNorm(encoder.dim), nn.Dropout(config.dropout), nn.Linear(encoder.dim, count))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("spread", torch.ones(count))

    def forward(self, embedding: Tensor) -> Tensor:
        values: Tensor = self.net(embedding) * self.spread + self.mean
        return values

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {"embedding": np.zeros((2, encoder.dim), np.float32)}
        return {"head_regress": GraphModule("head", self, example, {"embedding": {0: "batch"}}, ("out_regress",))}

    def spec(self) -> dict[str, Any]:
        return {"head": "head_regress", "names": list(self.config.units), "units": list(self.config.units.values())}


HEAD = Values
