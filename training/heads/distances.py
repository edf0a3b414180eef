"""How far do atoms lie from each other? What is usual at so many bonds, and what the two atoms change of it."""
# B molecules, N atoms, M at most, D features

from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.modalities import Arrays
from enfold.modalities.molecule import FARTHEST
from training.blocks.pair_head import PairHead
from training.encoders import Encoder
from training.heads import GraphModule, Head


class DistancesConfig(BaseModel, frozen=True, extra="forbid"):
    pair_dim: int = Field(16, ge=1)  # features of an atom that pairs are made of


class Distances(Head):
    """tokens [B, N + 1, D], hops [B, N, M] -> ångström [B, N, N], symmetric; `mean` and `spread` are of training.

    Hops are counted from 1, 0 where they are not known or a pair is padding.
    """

    task = "relations"
    Config = DistancesConfig
    config: DistancesConfig
    mean: Tensor
    spread: Tensor

    def __init__(self, encoder: Encoder, config: DistancesConfig):
        super().__init__(encoder, config)
        self.pairs = PairHead(encoder.dim, config.pair_dim, 1)
        self.register_buffer("mean", torch.zeros(FARTHEST + 2))
        self.register_buffer("spread", torch.ones(FARTHEST + 2))

    def forward(self, tokens: Tensor, hops: Tensor) -> Tensor:
        atoms = tokens[:, 1:]
        one = self.pairs(atoms)[..., 0]
        place = torch.arange(hops.shape[1], device=hops.device)
        hops = hops.index_select(2, place)
        found = (one + one.transpose(1, 2)) / 2 * self.spread[hops] + self.mean[hops]
        distances: Tensor = found.clamp(min=0) * (place != place[:, None])
        return distances

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: inputs[name][:2] for name in ("atoms", "degrees", "placed", "hops", "ways", "places")}
        axes = {name: {0: "batch", 1: "length"} for name in example}
        return {"relations": GraphModule("complete", _Read(encoder, self), example, axes, ("out_relations",))}

    def spec(self) -> dict[str, Any]:
        return {"graph": "relations"}


class _Read(nn.Module):
    def __init__(self, encoder: Encoder, head: Distances):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(
        self, atoms: Tensor, degrees: Tensor, placed: Tensor, hops: Tensor, ways: Tensor, places: Tensor
    ) -> Tensor:
        inputs = {"atoms": atoms, "degrees": degrees, "placed": placed, "hops": hops, "ways": ways, "places": places}
        found: Tensor = self.head(self.encoder(inputs).tokens, hops)
        return found


HEAD = Distances
