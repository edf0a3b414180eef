"""The decoder of masked point patches: what is visible and a learnt token for what is not, each told where it lies.

Pang et al. 2022 (Point-MAE), arXiv:2203.06604.
"""
# B batch, G patches, V visible ones, M hidden ones, P numbers of a patch, D width

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from training.encoders.point_transformer import place_layers


class PointDecoder(nn.Module):
    def __init__(self, dim: int, *, depth: int, heads: int, outputs: int, places: int = 3):
        """
        outputs   numbers that are found of each hidden patch
        places    columns that tell where a patch lies
        """
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        nn.init.normal_(self.mask_token, std=0.02)
        self.place = place_layers(dim, places)
        self.blocks = nn.ModuleList(Block(dim, heads, qkv_bias=True) for _ in range(depth))
        self.norm, self.to_points = nn.LayerNorm(dim), nn.Linear(dim, outputs)

    def forward(self, seen: Tensor, centres: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers of the hidden patches [B, M, P], and features of all before the last norm [B, G, D].

        seen      [B, V, D]  tokens of the visible patches, in their order
        centres   [B, G, places]
        hidden    [B, G]     True = hidden, as many in every item
        """
        B, G = hidden.shape
        x = self.mask_token.to(seen.dtype).expand(B, G, -1).masked_scatter(~hidden[..., None], seen)
        x = self.attend(x, centres)
        return self.found(x[hidden].unflatten(0, (B, -1))), x

    def after(self, seen: Tensor, centres: Tensor) -> Tensor:
        """The same [B, M, P] where the visible patches [B, V, D] come first, and then the hidden ones."""
        B, V = seen.shape[:2]
        masked = self.mask_token.to(seen.dtype).expand(B, centres.shape[1] - V, -1)
        return self.found(self.attend(torch.cat([seen, masked], 1), centres)[:, V:])

    def attend(self, x: Tensor, centres: Tensor) -> Tensor:
        """Tokens [B, G, D] through every block, each told again where it lies."""
        places = self.place(centres)
        for block in self.blocks:
            x = block(x + places)
        return x

    def found(self, x: Tensor) -> Tensor:
        numbers: Tensor = self.to_points(self.norm(x))
        return numbers
