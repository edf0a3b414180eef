"""Does the second of two texts belong to the first? One linear layer on the token that the pair begins with.

Di Liello et al. 2022, arXiv:2205.10455. As an answer of task `rank`, by pairs.
"""
# B pairs, T tokens, D features

from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import RAGGED, GraphModule, Head


class PairsConfig(BaseModel, frozen=True, extra="forbid"):
    max_tokens: int = Field(ge=8)  # of a pair


class Pairs(Head):
    """tokens [B, T, D] -> logits [B, 2]: no, yes."""

    task = "rank"
    Config = PairsConfig
    config: PairsConfig

    def __init__(self, encoder: Encoder, config: PairsConfig):
        super().__init__(encoder, config)
        self.related = nn.Linear(encoder.dim, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.related(tokens[:, 0])
        return logits

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
        """What speaks for it more than against it, [B, 1]."""
        logits = self(encoder(inputs).tokens)
        return logits[:, 1:] - logits[:, :1]

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: array[:2] for name, array in inputs.items()}
        example["token_type_ids"] = np.zeros_like(example["input_ids"])
        return {"pairs": self.complete(encoder, example, RAGGED, "out_rank")}

    def spec(self) -> dict[str, Any]:
        return {"by": "pairs", "graph": "pairs", "max_tokens": self.config.max_tokens}


HEAD = Pairs
