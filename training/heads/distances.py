"""How far do atoms lie from each other? What is usual at so many bonds, and what these and both atoms change of it."""
# B molecules, N atoms, M at most, D features, P bonds of a path

from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.modalities import Arrays
from enfold.modalities.molecule import BONDS, FARTHEST, PATH
from training.blocks.pair_head import PairHead
from training.encoders import Encoder
from training.heads import RAGGED, GraphModule, Head


class DistancesConfig(BaseModel, frozen=True, extra="forbid"):
    pair_dim: int = Field(16, ge=1)  # features of an atom that pairs are made of


class Distances(Head):
    """tokens [B, N + 1, D], hops [B, N, M], ways [B, N, M, P] -> ångström [B, N, N], symmetric.

    `mean` and `spread` by hops are those of training.
    """

    task = "relations"
    Config = DistancesConfig
    config: DistancesConfig
    mean: Tensor
    spread: Tensor

    def __init__(self, encoder: Encoder, config: DistancesConfig):
        super().__init__(encoder, config)
        self.pairs = PairHead(encoder.dim, config.pair_dim, 1)
        self.bonds = nn.Embedding(PATH * (BONDS + 1), 1)  # of each kind at each place of a path
        nn.init.zeros_(self.bonds.weight)
        self.register_buffer("mean", torch.zeros(FARTHEST + 2))
        self.register_buffer("spread", torch.ones(FARTHEST + 2))

    def forward(self, tokens: Tensor, hops: Tensor, ways: Tensor) -> Tensor:
        place = torch.arange(hops.shape[1], device=hops.device)
        hops, ways = (known.index_select(2, place) for known in (hops, ways))  # [B, N, N], [B, N, N, P]
        bonds = self.bonds(ways + torch.arange(PATH, device=ways.device) * (BONDS + 1)).sum(3)
        one = (self.pairs(tokens[:, 1:]) + bonds)[..., 0]
        found = (one + one.transpose(1, 2)) / 2 * self.spread[hops] + self.mean[hops]
        distances: Tensor = found.clamp(min=0) * (place != place[:, None])
        return distances

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
        found: Tensor = self(encoder(inputs).tokens, inputs["hops"], inputs["ways"])
        return found

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: inputs[name][:2] for name in ("atoms", "degrees", "placed", "hops", "ways", "places")}
        return {"relations": self.complete(encoder, example, RAGGED, "out_relations")}

    def spec(self) -> dict[str, Any]:
        return {"graph": "relations"}


HEAD = Distances
