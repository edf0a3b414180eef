"""What is each residue part of? Two convolutions on the tokens, as TAPE's head has them (Rao et al. 2019)."""
# B proteins, T tokens, D features, H hidden, C labels

from typing import Any

from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import RAGGED, GraphModule, Head


class TagsConfig(BaseModel, frozen=True, extra="forbid"):
    labels: dict[str, str] = Field(min_length=2)  # letter, as the truth has it -> what it means
    truth: str = "states"  # the column beside the item that has the true letters
    hidden: int = Field(128, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)


class Tags(Head):
    """tokens [B, T, D] -> logits [B, T, C]; what attention_mask hides changes nothing."""

    task = "tag"
    Config = TagsConfig
    config: TagsConfig

    def __init__(self, encoder: Encoder, config: TagsConfig):
        super().__init__(encoder, config)
        self.truth = config.truth  # type: ignore[misc]
        self.first = nn.Conv1d(encoder.dim, config.hidden, 5, padding=2)
        self.second = nn.Conv1d(config.hidden, len(config.labels), 3, padding=1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        real = mask[:, None].to(tokens.dtype)  # [B, 1, T]: beyond the end there is nothing, for either convolution
        hidden = self.dropout(F.relu(self.first(tokens.transpose(1, 2) * real)))
        logits: Tensor = self.second(hidden * real).transpose(1, 2)
        return logits

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
        found: Tensor = self(encoder(inputs).tokens, inputs["attention_mask"])
        return found

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: array[:2] for name, array in inputs.items()}
        return {"tag": self.complete(encoder, example, RAGGED, "out_tag")}

    def spec(self) -> dict[str, Any]:
        return {"graph": "tag", "labels": self.config.labels}


HEAD = Tags
