"""A causal language model: blocks in a row, one norm and one tied head after whichever of them is the last.

Any of `exits` is a complete model of its own, made of the first blocks alone (Kavehzadeh et al. 2024, SoFT,
arXiv:2309.08968): the sizes of one encoder.
"""
# B batch, T tokens of a text, S new tokens, P tokens before them, L blocks, H heads, D features, V vocabulary

from typing import Literal

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from training.blocks.causal_decoder import CausalBlock, rotations
from training.encoders import Encoded, Encoder, Inputs


class CausalLMConfig(BaseModel, frozen=True, extra="forbid"):
    dim: int = Field(128, ge=2)
    depth: int = Field(8, ge=1)
    heads: int = Field(4, ge=1)
    mlp_ratio: float = Field(8 / 3, gt=0)
    exits: tuple[int, ...] = ()  # numbers of blocks after which there is a model too; the whole depth is one always
    pool: Literal["mean", "end"] = "mean"  # the embedding: the mean of tokens, or the last one, which has seen them all

    @model_validator(mode="after")
    def _fit(self) -> "CausalLMConfig":
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} must be a multiple of twice the heads ({2 * self.heads})")
        if any(not 0 < exit <= self.depth for exit in self.exits):
            raise ValueError(f"exits {self.exits} must lie within the depth of {self.depth}")
        return self


class CausalLM(Encoder):
    """`features["exit2"]` … hold the normed tokens [B, T, D] after so many blocks."""

    Config = CausalLMConfig

    def __init__(self, config: CausalLMConfig, size: int):
        super().__init__()
        self.config, self.vocabulary, self.dim = config, size, config.dim
        self.pooling = "last token" if config.pool == "end" else "mean of tokens"
        self.exits = tuple(sorted({*config.exits, config.depth}))
        self.sizes = tuple(map(str, self.exits)) if len(self.exits) > 1 else ()
        self.words = nn.Embedding(size, config.dim)
        nn.init.normal_(self.words.weight, std=config.dim**-0.5)
        self.net = nn.ModuleList(CausalBlock(config.dim, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.dim)

    def forward(self, inputs: Inputs) -> Encoded:
        real = inputs["attention_mask"].bool()  # [B, T]; padding comes last, where no real token looks
        hidden, exits = self.words(inputs["input_ids"]), {}
        turn, mask = self._places(0, hidden.shape[1], hidden.device)
        for number, block in enumerate(self.net, 1):
            hidden, _ = block(hidden, turn, mask)
            if number in self.exits:
                exits[f"exit{number}"] = self.norm(hidden)
        tokens = exits[f"exit{self.config.depth}"]
        if self.config.pool == "end":
            last = real.sum(1)[:, None, None] - 1  # [B, 1, 1]
            return Encoded(tokens, tokens.gather(1, last.expand(-1, 1, self.dim))[:, 0], real, exits)
        weights = real[..., None].to(tokens.dtype)
        return Encoded(tokens, (tokens * weights).sum(1) / weights.sum(1), real, exits)

    def logits(self, tokens: Tensor) -> Tensor:
        """Of the next token, from normed ones: [..., D] -> [..., V]."""
        return F.linear(tokens, self.words.weight)

    def step(self, ids: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from what is cached: ids [B, S], cache [B, L, 2, H, P, d] -> logits [B, S, V], cache of P + S."""
        hidden, known = self.words(ids), []
        turn, mask = self._places(cache.shape[4], ids.shape[1], ids.device)
        for number, block in enumerate(self.net):
            hidden, keys = block(hidden, turn, mask, cache[:, number])
            known.append(keys)
        return self.logits(self.norm(hidden)), torch.stack(known, 1)

    def sized(self, size: str) -> "CausalLM":
        part = CausalLM(self.config.model_copy(update={"depth": int(size), "exits": ()}), self.vocabulary)
        own = self.state_dict()
        part.load_state_dict({name: own[name] for name in part.state_dict()})
        return part.eval()

    def _places(self, before: int, new: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rotations [2, S, d] of the new tokens, and where each may look [S, P + S]."""
        places = torch.arange(new, device=device) + before
        seen = torch.arange(before + new, device=device) <= places[:, None]
        return rotations(places.to(self.words.weight.dtype), self.dim // self.config.heads), seen


ENCODER = CausalLM
