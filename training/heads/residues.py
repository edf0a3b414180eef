"""Which residue stands at a masked place? A layer on its token, then the encoder's own embeddings of residues.

What pretraining on masked residues learns beside the encoder; Rao et al. 2019 (TAPE), arXiv:1906.08230.
"""
# B proteins, T tokens, V vocabulary

from typing import Any

from pydantic import BaseModel
from torch import Tensor

from enfold.modalities import Arrays
from training.blocks.word_head import WordHead
from training.encoders import Encoder
from training.encoders.bert import Bert
from training.heads import RAGGED, GraphModule, Head


class ResiduesConfig(BaseModel, frozen=True, extra="forbid"):
    pass


class Residues(Head):
    task = "mutations"
    Config = ResiduesConfig

    def __init__(self, encoder: Encoder, config: ResiduesConfig, word_head: WordHead | None = None):
        """word_head   that pretraining has learnt; else a fresh one"""
        super().__init__(encoder, config)
        assert isinstance(encoder, Bert)
        self.word_head = word_head or WordHead(encoder.dim, encoder.vocabulary)

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
        """Logits of the token at every place, [B, T, V]."""
        assert isinstance(encoder, Bert)
        logits: Tensor = self.word_head(encoder(inputs).tokens, encoder.net.embeddings.word_embeddings.weight)
        return logits

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: array[:2] for name, array in inputs.items()}
        return {"residues": self.complete(encoder, example, RAGGED, "out_mutations")}

    def spec(self) -> dict[str, Any]:
        return {"graph": "residues"}


HEAD = Residues
