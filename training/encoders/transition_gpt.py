"""A causal transformer with a token for a question and one for each transition of its context.

Lee, Xie et al., "Supervised Pretraining Can Learn In-Context Reinforcement Learning", NeurIPS 2023, arXiv:2306.14892:
GPT-2 of one head. Norms stand before attention and MLP, and once at the end; blocks are timm's.
"""
# B batch, N tokens of F numbers, D features

import torch
from pydantic import BaseModel, Field, model_validator
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from training.encoders import Encoded, Encoder, Inputs


class TransitionGPTConfig(BaseModel, frozen=True, extra="forbid"):
    """The paper's by default."""

    dim: int = Field(32, ge=1)
    depth: int = Field(4, ge=1)
    heads: int = Field(1, ge=1)
    positions: int = Field(501, ge=2)  # tokens at most: the question and the longest context

    @model_validator(mode="after")
    def _fit(self) -> "TransitionGPTConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        return self


class TransitionGPT(Encoder):
    """Inputs {"steps": [B, N, F], "mask": [B, N]}, padding last; a token knows the question and what came before it."""

    Config = TransitionGPTConfig
    pooling = "last token"

    def __init__(self, config: TransitionGPTConfig, size: int):
        """size   F"""
        super().__init__()
        self.config, self.dim = config, config.dim
        self.enter = nn.Linear(size, config.dim)
        self.place_embed = nn.Parameter(torch.randn(config.positions, config.dim) * 0.02)
        self.net = nn.ModuleList(Block(config.dim, config.heads, qkv_bias=True) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, inputs: Inputs) -> Encoded:
        steps, mask = inputs["steps"], inputs["mask"]
        places = torch.arange(steps.shape[1], device=steps.device)
        sight = (places <= places[:, None])[None, None]  # [1, 1, N, N]
        tokens: Tensor = self.enter(steps) + self.place_embed[: steps.shape[1]]
        for block in self.net:
            tokens = block(tokens, attn_mask=sight)
        tokens = self.norm(tokens)
        last = places == mask.sum(1, keepdim=True) - 1  # [B, N]
        return Encoded(tokens, (tokens * last[..., None]).sum(1), mask.bool())


ENCODER = TransitionGPT
