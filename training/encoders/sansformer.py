"""Mixers of visits without attention: a gate spreads each visit over those that follow it.

Kumar et al., "SANSformers: Self-Supervised Forecasting in Electronic Health Records with Attention-Free Models", 2023,
arXiv:2108.13672. Norms are of single visits, where the released code norms over all of them, so that padding counts
for nothing.
"""
# B batch, T visits, V codes of a visit, A places of what is known throughout, D features, e = D - A

import math
from typing import Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from training.encoders import Encoded, Encoder, Inputs

_UNIT = 15  # days: of elapsed time


class SansformerConfig(BaseModel, frozen=True, extra="forbid"):
    """The paper's by default; the axial variant has depth 4 there."""

    variant: Literal["additive", "axial"] = "additive"  # codes of a visit are summed, or mixed in every block
    dim: int = Field(256, ge=1)
    depth: int = Field(6, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    axial_alpha: float = 0.1  # weight of what the mixer of visits adds, in the axial variant
    max_visits: int = Field(64, ge=1)
    visit_codes: int = Field(8, ge=1)
    places: int = Field(8, ge=1)


class Sansformer(Encoder):
    """Inputs {"codes": [B, T, V], "gaps": [B, T], "about": [B, T, A]}; a token is a visit and what came before it."""

    Config = SansformerConfig
    pooling = "mean of visits, and GELU of their maximum"

    def __init__(self, config: SansformerConfig, size: int):
        """size   numbers of codes, 0 being none"""
        super().__init__()
        if config.dim <= config.places:
            raise WrongUse(f"encoder 'sansformer': dim {config.dim} must be more than places {config.places}")
        self.config, self.dim = config, config.dim
        e, slots, axial = config.dim - config.places, config.visit_codes + 1, config.variant == "axial"
        self.embed = nn.Embedding(size, e, padding_idx=0)
        self.norm = nn.LayerNorm(e)
        self.net = nn.ModuleList(
            Mixer(config.dim, config.max_visits, config.dropout, causal=True) for _ in range(config.depth)
        )
        self.within = nn.ModuleList(
            Mixer(config.dim, slots, config.dropout, causal=False) for _ in range(config.depth if axial else 0)
        )

    def forward(self, inputs: Inputs) -> Encoded:
        slots, there = self.slots(inputs)
        mask = (inputs["codes"] > 0).any(2)
        tokens = self._axial(slots, there) if self.within else self._additive(slots, there)
        tokens = tokens * mask[..., None]
        count = mask.sum(1, keepdim=True).clamp(min=1)
        most = tokens.masked_fill(~mask[..., None], -1e9).amax(1)
        return Encoded(tokens, tokens.sum(1) / count + F.gelu(most), mask)

    def slots(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Codes and, last, elapsed time [B, T, V + 1, D], and which of them are there [B, T, V + 1, 1]."""
        codes, gaps, about = inputs["codes"], inputs["gaps"], inputs["about"]
        e, order = self.embed.embedding_dim, torch.arange(gaps.shape[1], device=gaps.device)
        when = sinusoid(gaps.cumsum(1) / _UNIT, e)[:, :, None]  # [B, T, 1, e]
        found = torch.cat([self.embed(codes), when], 2) + sinusoid(order.to(gaps.dtype), e)[None, :, None]
        there = torch.cat([codes > 0, (codes > 0).any(2, keepdim=True)], 2)[..., None].to(gaps.dtype)
        beside = about[:, :, None].expand(-1, -1, found.shape[2], -1)
        return torch.cat([self.norm(found), beside], 3) * there, there

    def _additive(self, slots: Tensor, there: Tensor) -> Tensor:
        """The sum of a visit's codes, whatever their order, with what is known throughout beside it. [B, T, D]"""
        e = self.embed.embedding_dim
        tokens = torch.cat([slots[..., :e].sum(2), slots[..., -1, e:]], 2)
        for block in self.net:
            tokens = tokens + block(tokens)
        return tokens

    def _axial(self, slots: Tensor, there: Tensor) -> Tensor:
        """In turn within visits and over them, slot by slot; their mean at the end. [B, T, D]"""
        for within, over in zip(self.within, self.net, strict=True):
            slots = slots + within(slots)
            slots = (slots + self.config.axial_alpha * over(slots.transpose(1, 2)).transpose(1, 2)) * there
        return slots.sum(2) / there.sum(2).clamp(min=1)


class Mixer(nn.Module):
    """What a block adds to [..., N, D]: half of it is gated by the other, spread along N.

    Shorter inputs than `length` use the beginning of the weights, so that what is appended changes nothing before it.
    """

    def __init__(self, dim: int, length: int, dropout: float, *, causal: bool):
        super().__init__()
        self.causal = causal
        self.before, self.widen = nn.LayerNorm(dim), nn.Linear(dim, 4 * dim)
        self.gate_norm, self.narrow = nn.LayerNorm(2 * dim), nn.Linear(2 * dim, dim)
        self.spread = nn.Parameter(torch.empty(length, length).uniform_(-1e-3 / length, 1e-3 / length))
        self.bias = nn.Parameter(torch.ones(length))
        self.fed = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim), nn.LayerNorm(dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        N = x.shape[-2]
        kept, gate = F.gelu(self.widen(self.before(x))).chunk(2, -1)
        weights = self.weights()[:N, :N]
        gate = weights @ self.gate_norm(gate) + self.bias[:N, None]
        mixed: Tensor = self.dropout(self.fed(self.narrow(kept * gate)))
        return mixed

    def weights(self) -> Tensor:
        """[N, N] of the whole length: from column to row; a causal one has nothing above its diagonal."""
        return self.spread.tril() if self.causal else self.spread


def sinusoid(positions: Tensor, width: int) -> Tensor:
    """[...] -> [..., width]: sines, then cosines, of wavelengths from 2 pi to 10,000 times that."""
    half = (width + 1) // 2
    rates = torch.exp(torch.arange(half, device=positions.device) * (-math.log(10_000) / half))
    angles = positions[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)[..., :width]


ENCODER = Sansformer
