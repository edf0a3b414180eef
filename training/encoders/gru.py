"""Gated recurrent units over a text in both directions, small enough for captions (torch's).

Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation", EMNLP 2014,
arXiv:1406.1078.
"""
# B batch, T tokens, D features

import torch
from pydantic import BaseModel, Field
from torch import nn

from training.encoders import Encoded, Encoder, Inputs


class GRUConfig(BaseModel, frozen=True, extra="forbid"):
    width: int = Field(128, ge=1)  # of a token's embedding
    hidden: int = Field(64, ge=1)  # of each direction; a text has twice as many features


class GRU(Encoder):
    """Inputs {"input_ids": [B, T], "attention_mask": [B, T]}, padding behind the text: it changes nothing."""

    Config = GRUConfig
    pooling = "last state of each direction"

    def __init__(self, config: GRUConfig, size: int):
        """size   of the vocabulary"""
        super().__init__()
        self.net = nn.ModuleDict(
            {
                "embedding": nn.Embedding(size, config.width),
                "forth": nn.GRU(config.width, config.hidden, batch_first=True),
                "back": nn.GRU(config.width, config.hidden, batch_first=True),
            }
        )
        self.dim = 2 * config.hidden

    def forward(self, inputs: Inputs) -> Encoded:
        mask = inputs["attention_mask"].bool()  # [B, T]
        last = mask.sum(1, keepdim=True) - 1  # [B, 1], place of the last token
        # The text alone is turned round, so that the way back meets its last token first and never the padding.
        places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)  # [B, T]
        turned = (last - places).clamp(min=0)
        words = self.net["embedding"](inputs["input_ids"])  # [B, T, width]
        # Taken at `places`, which moves nothing, since torch.export takes a GRU's length for a constant.
        forth = _at(self.net["forth"](words)[0], places)  # [B, T, D / 2]
        back = _at(self.net["back"](_at(words, turned))[0], turned)
        tokens = torch.cat([forth, back], 2) * mask[..., None]  # [B, T, D]
        embedding = torch.cat([_at(forth, last), back[:, :1]], 2).squeeze(1)  # [B, D]
        return Encoded(tokens, embedding, token_mask=mask)


def _at(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """states [B, T, F] at places [B, K] -> [B, K, F]"""
    return states.gather(1, places[..., None].expand(-1, -1, states.shape[2]))


ENCODER = GRU
