"""Was this token swapped? One linear layer on each. Di Liello 2023, arXiv:2309.08272."""
# B texts, T tokens, D features

from typing import Any

from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import RAGGED, GraphModule, Head


class SwapsConfig(BaseModel, frozen=True, extra="forbid"):
    max_tokens: int = Field(ge=8)  # of a text
    prefix: str = ""


class Swaps(Head):
    """tokens [B, T, D] -> logits [B, T, 2]: no, yes."""

    task = "swaps"
    Config = SwapsConfig
    config: SwapsConfig

    def __init__(self, encoder: Encoder, config: SwapsConfig):
        super().__init__(encoder, config)
        self.swapped = nn.Linear(encoder.dim, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.swapped(tokens)
        return logits

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
        """What speaks for a swap more than against it, [B, T]."""
        logits = self(encoder(inputs).tokens)
        return logits[..., 1] - logits[..., 0]

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: array[:2] for name, array in inputs.items()}
        return {"swaps": self.complete(encoder, example, RAGGED, "out_swaps")}

    def spec(self) -> dict[str, Any]:
        return {"graph": "swaps"} | self.config.model_dump()


HEAD = Swaps
