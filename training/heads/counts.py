"""How often something is to be expected: a rate for each of several counts."""

from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import GraphModule, Head

FARTHEST = 8.0  # log rates are held within


class CountsConfig(BaseModel, frozen=True, extra="forbid"):
    names: tuple[str, ...] = Field(min_length=1)
    days: float | None = Field(None, gt=0)  # in which they are counted


class Counts(Head):
    """embedding [B, D] -> log rates [B, K]; `config.names` names the columns."""

    task = "estimate"
    Config = CountsConfig
    config: CountsConfig

    def __init__(self, encoder: Encoder, config: CountsConfig):
        super().__init__(encoder, config)
        self.net = nn.Sequential(nn.LayerNorm(encoder.dim), nn.Linear(encoder.dim, len(config.names)))

    def forward(self, embedding: Tensor) -> Tensor:
        rates: Tensor = self.net(embedding).clamp(-FARTHEST, FARTHEST)
        return rates

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {"embedding": np.zeros((2, encoder.dim), np.float32)}
        return {"head_estimate": GraphModule("head", self, example, {"embedding": {0: "batch"}}, ("out_estimate",))}

    def spec(self) -> dict[str, Any]:
        return {"head": "head_estimate", "names": list(self.config.names), "days": self.config.days}


HEAD = Counts
