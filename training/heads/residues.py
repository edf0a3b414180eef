"""Which residue stands at a masked place? A layer on its token, then the encoder's own embeddings of residues.

What pretraining on masked residues learns beside the encoder; Rao et al. 2019 (TAPE), arXiv:1906.08230.
"""
# B proteins, T tokens, V vocabulary

from typing import Any

from pydantic import BaseModel
from torch import Tensor, nn

from enfold.modalities import Arrays
from training.blocks.word_head import WordHead
from training.encoders import Encoder
from training.encoders.bert import Bert
from training.heads import GraphModule, Head


class ResiduesConfig(BaseModel, frozen=True, extra="forbid"):
    pass


class Residues(Head):
    """input_ids, attention_mask [B, T] -> logits [B, T, V]."""

    task = "mutations"
    Config = ResiduesConfig

    def __init__(self, encoder: Encoder, config: ResiduesConfig, word_head: WordHead | None = None):
        """word_head   that pretraining has learnt; else a fresh one"""
        super().__init__(encoder, config)
        assert isinstance(encoder, Bert)
        self.word_head = word_head or WordHead(encoder.dim, encoder.vocabulary)

    def forward(self, encoder: Bert, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        tokens = encoder({"input_ids": input_ids, "attention_mask": attention_mask}).tokens
        logits: Tensor = self.word_head(tokens, encoder.net.embeddings.word_embeddings.weight)
        return logits

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: array[:2] for name, array in inputs.items()}
        axes = {name: {0: "batch", 1: "length"} for name in example}
        return {"residues": GraphModule("complete", _Read(encoder, self), example, axes, ("out_mutations",))}

    def spec(self) -> dict[str, Any]:
        return {"graph": "residues"}


class _Read(nn.Module):
    def __init__(self, encoder: Encoder, head: Residues):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found: Tensor = self.head(self.encoder, input_ids, attention_mask)
        return found


HEAD = Residues
