"""From tokens to one embedding, as sentence-transformers does it."""
# B texts, T tokens, D features

import torch
from torch import Tensor


def mean(tokens: Tensor, mask: Tensor) -> Tensor:
    weight = mask.unsqueeze(-1).to(tokens.dtype)  # [B, T, 1]
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


def cls(tokens: Tensor, mask: Tensor) -> Tensor:
    return tokens[:, 0]


def max(tokens: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.unsqueeze(-1) > 0, tokens, torch.finfo(tokens.dtype).min).amax(1)


POOLINGS = {"mean": mean, "cls": cls, "max": max}  # tokens [B, T, D], attention mask [B, T] -> [B, D]
