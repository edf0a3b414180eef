"""An encoder whose embedding is projected into a space that other encoders share; its tokens stay as they are.

Radford et al. 2021 (CLIP), arXiv:2103.00020, whose projections are linear and have no bias.
"""
# B batch, P features of the shared space

from typing import Any

from pydantic import BaseModel, Field
from torch import Tensor, nn

from training.encoders import Encoded, Encoder, Inputs, build


class ProjectedConfig(BaseModel, frozen=True, extra="forbid"):
    name: str  # of the encoder
    config: dict[str, Any] = {}
    dim: int = Field(512, ge=1)  # of the shared space


class Projected(Encoder):
    """Inputs and tokens are those of the encoder within, and so is what training alone says to `forward`."""

    Config = ProjectedConfig

    def __init__(self, config: ProjectedConfig, size: int):
        super().__init__()
        self.dim = config.dim
        self.encoder = build(config.name, config.config, size)
        self.pooling = f"projected {self.encoder.pooling}"
        self.projection = nn.Linear(self.encoder.dim, config.dim, bias=False)
        nn.init.normal_(self.projection.weight, std=self.encoder.dim**-0.5)

    @property
    def net(self) -> Any:
        """What published weights fill."""
        return self.encoder.net

    def forward(self, inputs: Inputs, **training: Tensor | None) -> Encoded:
        encoded = self.encoder(inputs, **training)
        embedding = self.projection(encoded.embedding)  # [B, P]
        return Encoded(encoded.tokens, embedding, encoded.token_mask, encoded.features)


ENCODER = Projected
