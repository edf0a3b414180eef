"""Are three windows of a video in order? One linear layer on their embeddings, side by side.

Goulao and Oliveira 2022 (TOV-VICReg), arXiv:2209.10901.
"""
# B triples, D features

from typing import Any

import numpy as np
from pydantic import BaseModel
from torch import Tensor, nn

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import GraphModule, Head


class OrderConfig(BaseModel, frozen=True, extra="forbid"):
    pass


class Order(Head):
    """three [B, 3, D] -> logits [B] of their not standing as trained: a window, the one before, the one after."""

    task = "order"
    Config = OrderConfig

    def __init__(self, encoder: Encoder, config: OrderConfig):
        super().__init__(encoder, config)
        self.disorder = nn.Linear(3 * encoder.dim, 1)

    def forward(self, three: Tensor) -> Tensor:
        logits: Tensor = self.disorder(three.flatten(1))
        return logits[:, 0]

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {"three": np.zeros((2, 3, encoder.dim), np.float32)}
        return {"order": GraphModule("complete", self, example, {"three": {0: "batch"}}, ("out_order",))}

    def spec(self) -> dict[str, Any]:
        return {"graph": "order"}


HEAD = Order
