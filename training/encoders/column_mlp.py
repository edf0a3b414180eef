"""A multilayer perceptron of rows: each column has weights of its own, which its name stands for.

The metadata encoder of Rizhko and Bloom 2024 (AstroM3), arXiv:2411.08842. Its first layer is linear in the columns;
here the weights of one are those of the pieces of its name, on average, so that the order of columns counts for nothing
and one that is missing adds nothing, not what its mean would.
"""
# B batch, N tokens of a row, W pieces of a column's name, D features

from pydantic import BaseModel, Field
from torch import Tensor, nn

from training.encoders import Encoded, Encoder, Inputs


class ColumnMLPConfig(BaseModel, frozen=True, extra="forbid"):
    """AstroM3's by default."""

    dim: int = Field(512, ge=1)
    dropout: float = Field(0.16, ge=0, lt=1)


class ColumnMLP(Encoder):
    """Inputs {"pieces": [B, N, W], "values": [B, N], "kinds": [B, N]}; the embedding alone counts as its one token."""

    Config = ColumnMLPConfig
    pooling = "sum of columns"

    def __init__(self, config: ColumnMLPConfig, size: int):
        """size   of the vocabulary, with 0 for no piece"""
        super().__init__()
        self.config, self.dim = config, config.dim
        self.slope = nn.Embedding(size, config.dim, padding_idx=0)
        self.offset = nn.Embedding(size, config.dim, padding_idx=0)
        self.net = nn.Sequential(
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.dim, config.dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
        )

    def forward(self, inputs: Inputs) -> Encoded:
        pieces, values = inputs["pieces"], inputs["values"][..., None]  # [B, N, W], [B, N, 1]
        count = (pieces > 0).sum(2, keepdim=True).clamp(min=1)
        slope, offset = (weights(pieces).sum(2) / count for weights in (self.slope, self.offset))  # [B, N, D]
        real = (inputs["kinds"] > 0)[..., None]
        embedding: Tensor = self.net(((slope * values + offset) * real).sum(1))
        return Encoded(embedding[:, None], embedding)


ENCODER = ColumnMLP
