"""GPHT: stages of causal transformers from coarse to fine, each telling the next segment of what is not told yet.

Liu et al., "Generative Pretrained Hierarchical Transformer for Time Series Forecasting", KDD 2024, arXiv:2402.16516.
Channels know nothing of each other. Our reading where the paper is silent: norms stand before attention and MLP, and
once after a stage's last block; a segment of which nothing was measured is seen by none. Blocks are timm's.
"""
# B batch, C channels, L steps, N segments (tokens) of S steps, D features, R = B C courses

from dataclasses import dataclass

import torch
from pydantic import BaseModel, Field, model_validator
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from training.encoders import Encoded, Encoder, Inputs

_LEAST_VARIANCE = 1e-5  # of a window


class GPHTConfig(BaseModel, frozen=True, extra="forbid"):
    """The paper's by default."""

    segment: int = Field(48, ge=1)  # steps that are one token, and that are told at once
    pooling: tuple[int, ...] = Field((8, 4, 2, 1), min_length=1)  # steps of which a stage sees the largest, each
    dim: int = Field(512, ge=1)
    depth: int = Field(3, ge=1)  # blocks of a stage
    heads: int = Field(8, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)

    @model_validator(mode="after")
    def _fit(self) -> "GPHTConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if any(rate < 1 or self.segment % rate for rate in self.pooling):
            raise ValueError(f"each of pooling {self.pooling} must divide the segment of {self.segment} steps")
        return self


@dataclass(frozen=True)
class Cascade:
    """What the stages make of standardised courses, one entry a stage."""

    seen: list[Tensor]  # [R, L]: what each stage was given
    told: list[Tensor]  # [R, L]: at the place of a segment the one after it
    tokens: list[Tensor]  # [R, N, D]


class GPHT(Encoder):
    """Inputs {"series": [B, C, L], "measured": [B, C, L]}; `features["next"]` [B, C, N, S] in the inputs' unit."""

    Config = GPHTConfig
    pooling = "last token, mean of channels"

    def __init__(self, config: GPHTConfig, size: int):
        """size   steps of a window"""
        super().__init__()
        if size % config.segment:
            raise WrongUse(f"encoder 'gpht': a window of {size} steps is no multiple of the segment, {config.segment}")
        self.config, self.dim, self.count = config, config.dim, size // config.segment
        self.net = nn.ModuleList(Stage(config, rate, self.count) for rate in config.pooling)
        self.heads = nn.ModuleList(nn.Linear(config.dim, config.segment) for _ in config.pooling)

    def forward(self, inputs: Inputs) -> Encoded:
        B, C, _ = inputs["series"].shape
        measured = inputs["measured"].flatten(0, 1)  # [R, L]
        x, mean, spread = instance_norm(inputs["series"].flatten(0, 1), measured)
        found = self.cascade(x, self.real(measured))
        told = torch.stack(found.told).sum(0) * spread + mean
        tokens = found.tokens[-1].unflatten(0, (B, C))  # [B, C, N, D]
        there = inputs["measured"].amax(2)  # [B, C]
        embedding = (tokens[:, :, -1] * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        features = {"next": told.unflatten(1, (self.count, -1)).unflatten(0, (B, C))}
        return Encoded(tokens.flatten(1, 2), embedding, there.bool().repeat_interleave(self.count, 1), features)

    def cascade(self, x: Tensor, real: Tensor) -> Cascade:
        """Standardised courses [R, L], segments of which anything was measured [R, N], through every stage."""
        N = self.count
        earlier = torch.ones(N, N, dtype=torch.bool, device=x.device).tril()
        sight = earlier & (real[:, None] | torch.eye(N, dtype=torch.bool, device=x.device))  # [R, N, N]
        found = Cascade([], [], [])
        for stage, head in zip(self.net, self.heads, strict=True):
            tokens = stage(x, sight[:, None])
            told = head(tokens).flatten(1)
            for entries, entry in zip((found.seen, found.told, found.tokens), (x, told, tokens), strict=True):
                entries.append(entry)
            x = x - self.shifted(told)
        return found

    def shifted(self, told: Tensor) -> Tensor:
        """What was told of each segment before it came, at its place; of the first nothing was. [R, L]"""
        return F.pad(told[:, : -self.config.segment], (self.config.segment, 0))

    def real(self, measured: Tensor) -> Tensor:
        """[R, L] -> [R, N]"""
        return measured.unflatten(1, (self.count, -1)).amax(2) > 0


class Stage(nn.Module):
    """[R, L], of which it sees the largest of every `rate` steps -> tokens [R, N, D], as many whatever the rate."""

    def __init__(self, config: GPHTConfig, rate: int, count: int):
        super().__init__()
        self.rate, self.count = rate, count
        self.patch = nn.Linear(config.segment // rate, config.dim)
        self.place = nn.Parameter(torch.randn(count, config.dim) * 0.02)
        blocks = (Block(config.dim, config.heads, config.mlp_ratio, qkv_bias=True) for _ in range(config.depth))
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(config.dim)

    def forward(self, x: Tensor, sight: Tensor) -> Tensor:
        """sight   [R, 1, N, N], True = a token looks there"""
        coarse = x.unflatten(1, (-1, self.rate)).amax(2)
        tokens = self.patch(coarse.unflatten(1, (self.count, -1))) + self.place
        for block in self.blocks:
            tokens = block(tokens, attn_mask=sight)
        found: Tensor = self.norm(tokens)
        return found


def instance_norm(series: Tensor, measured: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Courses [R, L] less their mean over their spread, and these, [R, 1]; what was not measured is 0."""
    count = measured.sum(1, keepdim=True).clamp(min=1)
    mean = (series * measured).sum(1, keepdim=True) / count
    apart = (series - mean) * measured
    spread = ((apart**2).sum(1, keepdim=True) / count + _LEAST_VARIANCE).sqrt()
    return apart / spread, mean, spread


ENCODER = GPHT
