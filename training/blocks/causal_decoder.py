"""Blocks of a causal language model that can go on from a cache: pre-norm attention with rotary positions, gated MLP.

Touvron et al. 2023 (LLaMA), arXiv:2302.13971; rotary positions: Su et al. 2021, arXiv:2104.09864.
"""
# B batch, S new tokens, P tokens before them, H heads, D features, d features of a head

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CausalBlock(nn.Module):
    def __init__(self, dim: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.heads, inner = heads, int(dim * mlp_ratio)
        self.norm1, self.norm2 = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.gate, self.up = nn.Linear(dim, inner, bias=False), nn.Linear(dim, inner, bias=False)
        self.down = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor, rotation: Tensor, mask: Tensor, cache: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """New tokens [B, S, D] to the same, and keys and values of all tokens so far, [B, 2, H, P + S, d].

        rotation   [2, S, d]     of the new tokens' positions
        mask       [S, P + S]    True = a new token may look there
        cache      [B, 2, H, P, d]   keys and values of the tokens before
        """
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, H, S, d]
        now = torch.stack([rotated(k, rotation), v], 1)  # [B, 2, H, S, d]
        known = now if cache is None else torch.cat([cache, now], 3)
        attended = F.scaled_dot_product_attention(rotated(q, rotation), known[:, 0], known[:, 1], attn_mask=mask)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        inner = self.norm2(x)
        return x + self.down(F.silu(self.gate(inner)) * self.up(inner)), known


def rotations(positions: Tensor, dim: int, base: float = 10_000.0) -> Tensor:
    """Cosines and sines by which `rotated` turns tokens at `positions` [S]: [2, S, d]."""
    rates = base ** (-torch.arange(0, dim, 2, device=positions.device) / dim)
    angles = positions[:, None] * rates  # [S, d / 2]
    return torch.stack([angles.cos(), angles.sin()]).repeat(1, 1, 2)


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """[B, H, S, d], each half of the features turned against the other."""
    first, second = x.chunk(2, -1)
    return x * rotation[0] + torch.cat([-second, first], -1) * rotation[1]
