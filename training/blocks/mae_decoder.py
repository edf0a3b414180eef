"""The decoder of a masked autoencoder: visible tokens and a learnt token for every hidden patch, through a few blocks.

He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv:2111.06377.
"""
# B batch, K visible patches, N patches, D features of the encoder, W width

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from training.blocks.patches import positions


class MAEDecoder(nn.Module):
    def __init__(self, dim: int, *, width: int, depth: int, heads: int):
        super().__init__()
        self.width = width
        self.project = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, first: Tensor, tokens: Tensor, visible: Tensor, grid: tuple[int, ...]) -> Tensor:
        """All patches [B, N, W], in the order of the grid.

        first     [B, D]     the encoder's class token
        tokens    [B, K, D]  of the visible patches, at places `visible` [B, K]
        """
        place = positions(grid, self.width, tokens)  # [N, W]
        places = visible[..., None].expand(-1, -1, self.width)
        seen = self.project(tokens).to(tokens.dtype)
        x = self.mask_token.to(seen.dtype).expand(len(tokens), len(place), -1).scatter(1, places, seen) + place
        x = torch.cat([self.project(first)[:, None], x], 1)
        for block in self.blocks:
            x = block(x)
        decoded: Tensor = self.norm(x[:, 1:])
        return decoded
