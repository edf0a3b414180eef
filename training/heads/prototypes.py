"""Prototypes: the class whose mean lies nearest to an embedding.

Wang et al. 2019 (SimpleShot), arXiv:1911.04623.
"""
# B batch, C classes, D features

import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

from training.encoders import Encoder
from training.heads.classifier import ClassifyHead


class PrototypesConfig(BaseModel, frozen=True, extra="forbid"):
    labels: tuple[str, ...] = Field(min_length=1)


class Prototypes(ClassifyHead):
    """Logits are minus the distances of an embedding, less the training mean and at length 1."""

    Config = PrototypesConfig
    config: PrototypesConfig
    mean: Tensor  # [D]
    prototypes: Tensor  # [C, D]

    def __init__(self, encoder: Encoder, config: PrototypesConfig):
        super().__init__(encoder, config)
        self.register_buffer("mean", torch.zeros(encoder.dim))
        self.register_buffer("prototypes", torch.zeros(len(config.labels), encoder.dim))

    def forward(self, embedding: Tensor) -> Tensor:
        direction = F.normalize(embedding - self.mean, dim=1)
        return -(direction[:, None] - self.prototypes).square().sum(2).sqrt()


HEAD = Prototypes
