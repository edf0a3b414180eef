"""Which action is the best: logits at every token of a context, of which a server asks for the last."""

from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import GraphModule, Head


class ActionsConfig(BaseModel, frozen=True, extra="forbid"):
    names: tuple[str, ...] = Field(min_length=2)  # of the actions


class Actions(Head):
    """tokens [..., D], or the embedding, which is the last of them -> logits [..., A]."""

    task = "act"
    Config = ActionsConfig
    config: ActionsConfig

    def __init__(self, encoder: Encoder, config: ActionsConfig):
        super().__init__(encoder, config)
        self.net = nn.Linear(encoder.dim, len(config.names))

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.net(tokens)
        return logits

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {"embedding": np.zeros((2, encoder.dim), np.float32)}
        return {"head_act": GraphModule("head", self, example, {"embedding": {0: "batch"}}, ("out_act",))}

    def spec(self) -> dict[str, Any]:
        return {"names": list(self.config.names), "head": "head_act"}


HEAD = Actions
