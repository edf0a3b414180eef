"""DINOHead: from embeddings or tokens to scores over prototypes. It stays behind at export.

Caron et al. 2021 (DINO), arXiv:2104.14294, appendix C.
"""
# D features, P width of what is compared, K prototypes

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DINOHead(nn.Module):
    """[…, D] -> cosines [..., K] with learnt prototypes, after three linear layers."""

    def __init__(self, dim: int, *, hidden: int, projection: int, prototypes: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, projection)
        )
        self.prototypes = nn.Parameter(torch.empty(prototypes, projection))
        for weight in self.parameters():
            nn.init.trunc_normal_(weight, std=0.02) if weight.ndim == 2 else nn.init.zeros_(weight)

    def forward(self, embedding: Tensor) -> Tensor:
        projection = F.normalize(self.mlp(embedding), dim=-1)
        return F.linear(projection, F.normalize(self.prototypes, dim=-1))
