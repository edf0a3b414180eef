"""Convolutions along the steps of a series of fixed length, such as a spectrum; what they end in is the embedding.

The spectrum encoder of Rizhko and Bloom 2024 (AstroM3), arXiv:2411.08842: 2,575 wavelengths become 37 tokens of 32.
"""
# B batch, C channels, L steps, N tokens, D features

from itertools import pairwise

from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.errors import WrongUse
from training.encoders import Encoded, Encoder, Inputs


class StepCNNConfig(BaseModel, frozen=True, extra="forbid"):
    """AstroM3's by default."""

    channels: int = Field(3, ge=1)
    widths: tuple[int, ...] = Field((64, 64, 32, 32), min_length=1)
    kernel: int = Field(3, ge=1)
    pool: int = Field(4, ge=1)  # after every layer but the last
    dropout: float = Field(0.34, ge=0, lt=1)


class StepCNN(Encoder):
    """Inputs {"series": [B, C, L]}, 0 where nothing was measured."""

    Config = StepCNNConfig
    pooling = "tokens of all pieces"

    def __init__(self, config: StepCNNConfig, size: int):
        """size   steps of a window"""
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        left, last = size, len(config.widths) - 1
        for number, (before, after) in enumerate(pairwise((config.channels, *config.widths))):
            layers += [nn.Conv1d(before, after, config.kernel), nn.ReLU()]
            left -= config.kernel - 1
            if number < last:
                layers += [nn.MaxPool1d(config.pool), nn.Dropout(config.dropout)]
                left //= config.pool
            if left < 1:
                raise WrongUse(f"encoder 'step_cnn': nothing is left of {size} steps after layer {number + 1}")
        self.net = nn.Sequential(*layers)
        self.dim = left * config.widths[-1]

    def forward(self, inputs: Inputs) -> Encoded:
        tokens: Tensor = self.net(inputs["series"]).transpose(1, 2)  # [B, N, D]
        return Encoded(tokens, tokens.flatten(1))


ENCODER = StepCNN
