"""Regenerating patches of Gaussians that were hidden: the decoder of a masked autoencoder, with the encoder before it.

Ma, Li et al. 2025 (ShapeSplat), arXiv:2408.10906.
"""
# B batch, G patches, V visible and M hidden ones, O candidates of a patch, K Gaussians that are found, C columns

from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

from enfold.modalities import Arrays
from enfold.modalities.splats import Attribute, width
from training.blocks.point_decoder import PointDecoder
from training.encoders import Encoder
from training.encoders.splat_transformer import SplatTransformer
from training.heads import GraphModule, Head


class CompleterConfig(BaseModel, frozen=True, extra="forbid"):
    attributes: tuple[Attribute, ...]  # of a Gaussian, as its columns come
    hidden: int = Field(ge=1)  # patches
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)


class Completer(Head):
    """Centres [B, G, C], patches [B, G, O, C] and order [B, G], visible ones first -> the hidden ones [B, M, K, C]."""

    task = "complete"
    Config = CompleterConfig
    config: CompleterConfig

    def __init__(self, encoder: Encoder, config: CompleterConfig):
        super().__init__(encoder, config)
        assert isinstance(encoder, SplatTransformer)
        self.neighbours, self.places = encoder.config.neighbours, encoder.places
        outputs = self.neighbours * sum(width(name) for name in config.attributes)
        sizes = {"depth": config.depth, "heads": config.heads, "outputs": outputs}
        self.decoder = PointDecoder(encoder.config.dim, places=self.places, **sizes)

    def forward(self, encoder: SplatTransformer, centres: Tensor, patches: Tensor, order: Tensor) -> Tensor:
        centres = picked(centres, order)
        visible = order[:, : order.shape[1] - self.config.hidden]
        tokens = encoder.tokens(picked(patches, visible))
        seen = encoder.attend(tokens, centres[:, : visible.shape[1]])
        found = self.decoder.after(seen, centres[..., : self.places])  # [B, M, KC]
        return as_attributes(found.unflatten(2, (self.neighbours, -1)), self.config.attributes)

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
        found: Tensor = self(encoder, inputs["centres"], inputs["patches"], inputs["order"])
        return found

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        order = np.tile(np.arange(inputs["centres"].shape[1]), (len(inputs["centres"]), 1))
        example = {"centres": inputs["centres"], "patches": inputs["patches"], "order": order}
        return {"complete": self.complete(encoder, example, {0: "batch"}, "out_complete")}

    def spec(self) -> dict[str, Any]:
        facts = {"attributes": list(self.config.attributes), "hidden": self.config.hidden}
        return {"graph": "complete", "neighbours": self.neighbours, **facts}


def picked(values: Tensor, which: Tensor) -> Tensor:
    """Rows of each item's own: [B, G, ...] by indices [B, V] -> [B, V, ...]."""
    index = which.reshape(*which.shape, *[1] * (values.ndim - 2)).expand(-1, -1, *values.shape[2:])
    return values.gather(1, index)


def as_attributes(found: Tensor, attributes: tuple[Attribute, ...]) -> Tensor:
    """Raw numbers [..., C] brought to where normalised attributes lie; quaternions have length 1."""
    parts = []
    for name, values in zip(attributes, found.split([width(name) for name in attributes], -1), strict=True):
        if name in ("opacity", "scale"):
            values = values.tanh()
        elif name == "rotation":
            w, *others = values.tanh().split(1, -1)
            values = F.normalize(torch.cat([1 - w, *others], -1), dim=-1)
        parts.append(values)
    return torch.cat(parts, -1)


HEAD = Completer
