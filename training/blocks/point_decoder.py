"""The decoder of masked point patches: what is visible and a learnt token for what is not, each told where it lies.

Pang et al. 2022 (Point-MAE), arXiv:2203.06604.
"""
# B batch, G patches, V visible ones, M hidden ones, K points of a patch, D width

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from training.encoders.point_transformer import place_layers


class PointDecoder(nn.Module):
    def __init__(self, dim: int, *, depth: int, heads: int, points: int):
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        nn.init.normal_(self.mask_token, std=0.02)
        self.place = place_layers(dim)
        self.blocks = nn.ModuleList(Block(dim, heads, qkv_bias=True) for _ in range(depth))
        self.norm, self.to_points = nn.LayerNorm(dim), nn.Linear(dim, 3 * points)

    def forward(self, seen: Tensor, centres: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Points of the hidden patches [B, M, K, 3], and features of all before the last norm [B, G, D].

        seen      [B, V, D]  tokens of the visible patches, in their order
        centres   [B, G, 3]
        hidden    [B, G]     True = hidden, as many in every item
        """
        B, G = hidden.shape
        x = self.mask_token.to(seen.dtype).expand(B, G, -1).masked_scatter(~hidden[..., None], seen)
        places = self.place(centres)
        for block in self.blocks:
            x = block(x + places)
        points = self.to_points(self.norm(x[hidden].unflatten(0, (B, -1))))
        return points.unflatten(2, (-1, 3)), x
