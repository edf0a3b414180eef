"""A transformer of patches of Gaussians, whose tokens come from soft nearest neighbours in what a patch has learnt.

Ma, Li et al., "ShapeSplat: A Large-scale Dataset of Gaussian Splats and Their Self-Supervised Pretraining", 3DV 2025,
arXiv:2408.10906. The transformer behind it is Point-MAE's.
"""
# B batch, G patches, O candidates of a patch, K neighbours, C columns of a Gaussian, F features, D width

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from training.encoders.point_transformer import PointTransformer, PointTransformerConfig

_WHOLE = 1 - 1e-6  # of a weight: what was drawn as far as that is gone


class SplatTransformerConfig(PointTransformerConfig):
    """The paper's by default, with splats pooling; its widths for "nearest" are (128, 256) and 512."""

    point_widths: tuple[int, int] = (128, 128)
    patch_width: int = Field(256, ge=1)
    neighbours: int = Field(32, ge=1)  # of a patch's candidates
    tokenizer: Literal["soft", "nearest"] = "soft"  # drawn softly by what they are, or the first ones
    placed_by: Literal["place", "attributes"] = "attributes"  # which columns of a centre say where its patch lies


class SplatTransformer(PointTransformer):
    """Inputs {"centres": [B, G, C], "patches": [B, G, O, C]}; the order of patches is nothing."""

    Config = SplatTransformerConfig
    config: SplatTransformerConfig

    def __init__(self, config: SplatTransformerConfig, size: int):
        """size   columns of a Gaussian, its place first"""
        self.places = 3 if config.placed_by == "place" else size
        super().__init__(config, size, columns=size, places=self.places)
        if config.tokenizer == "soft":
            self.log_temperature = nn.Parameter(torch.zeros(()))

    def tokens(self, patches: Tensor) -> Tensor:
        """What each patch is: [B, G, O, C] -> [B, G, D]."""
        if self.config.tokenizer == "nearest":
            return super().tokens(patches[:, :, : self.config.neighbours])
        B, G = patches.shape[:2]
        alone = self.points(patches.flatten(0, 1).transpose(1, 2))  # [BG, F, O]
        weights = soft_neighbours(alone, self.log_temperature.exp(), self.config.neighbours)
        return self.pooled(alone @ weights.transpose(1, 2)).unflatten(0, (B, G))

    def attend(self, tokens: Tensor, centres: Tensor) -> Tensor:
        return super().attend(tokens, centres[..., : self.places])


def soft_neighbours(alone: Tensor, temperature: Tensor, count: int) -> Tensor:
    """How much of each candidate is in each neighbour [BG, K, O], rows of sum 1: the softly nearest drawn in turn.

    alone   [BG, F, O]  the candidates; nearness is to their maximum

    What was drawn is left out of the next draws as far as it was drawn.
    Plötz and Roth 2018 (neural nearest neighbours), arXiv:1810.12575.
    """
    logits = -(alone - alone.max(2, keepdim=True).values).square().sum(1) / temperature  # [BG, O]
    drawn = []
    for _ in range(count):
        weight = logits.softmax(1)
        drawn.append(weight)
        left = (1 - weight.clamp(max=_WHOLE)).log()  # whose slope has no bound
        logits = torch.where(weight < _WHOLE, logits + left, -torch.inf)
    return torch.stack(drawn, 1)


ENCODER = SplatTransformer
