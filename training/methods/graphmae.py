"""GraphMAE: hide the features of many nodes, encode, hide their codes again, and decode the features from neighbours.

Hou et al., "GraphMAE: Self-Supervised Masked Graph Autoencoders", KDD 2022, arXiv:2205.10803.
Our reading: an item is a graph, so a step sees a batch of graphs also where the paper takes the one that all nodes are
in; nodes of that are items as centres of their networks. Of codes that are hidden again nothing is left, not a token to
be learnt, as in the released code.
"""
# B graphs, N places of nodes, n nodes of all graphs, F numbers of a node, D features

from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.graph import Graph, GraphPreprocess
from enfold.modalities.table import padded
from training.encoders import Encoder
from training.encoders.gnn import GNN, flattened, layer_of
from training.methods import Batch, Item, Losses, Method


class GraphMAEConfig(BaseModel, frozen=True, extra="forbid"):
    """The paper's for Cora by default."""

    mask_rate: float = Field(0.5, gt=0, le=1)  # of a graph's nodes, rounded down
    replace_rate: float = Field(0.05, ge=0, le=1)  # of those, that get another node's features instead of the token
    gamma: float = Field(3.0, ge=1)  # of the scaled cosine error: the higher, the less what is known already counts
    error: Literal["sce", "mse"] = "sce"
    remask: bool = True


class GraphMAE(Method):
    Config = GraphMAEConfig
    config: GraphMAEConfig
    encoder: GNN
    takes_reader = True

    def __init__(self, encoder: Encoder, config: GraphMAEConfig, preprocess: GraphPreprocess, reader: Graph):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, GNN):
            raise WrongUse("method 'graphmae' hides nodes of a graph: it needs encoder 'gnn'")
        self._reader = reader
        D, size = encoder.dim, preprocess.features
        self.mask_token = nn.Parameter(torch.zeros(size))
        self.bridge = nn.Linear(D, D, bias=False)
        self.decoder = layer_of(encoder.config.layer, D, size, dropout=encoder.config.attention_dropout)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """The encoder's inputs, N as many as it takes; shown int64 [N]: whose features stand at each node.

        Its own, by its number from 1, if it is not masked; -1 is the token, -1 - k what node k has.
        """
        arrays = self._reader.prepare(item.value)[0].arrays
        shown = masked(len(arrays["kinds"]), self.config.mask_rate, self.config.replace_rate, rng)
        return {name: padded(one, self.preprocess.max_nodes) for name, one in {**arrays, "shown": shown}.items()}

    def forward(self, batch: Batch) -> Losses:
        features, edges = flattened(batch)
        hidden = batch["shown"][batch["kinds"] > 0] < 0  # [n]
        codes = self.bridge(self.encoder.along_edges(self.corrupted(batch), edges))
        if self.config.remask:
            codes = codes.masked_fill(hidden[:, None], 0)
        rebuilt = self.decoder(codes, edges)[hidden]
        if self.config.error == "mse":
            return {"loss": F.mse_loss(rebuilt, features[hidden])}
        return {"loss": scaled_cosine_error(features[hidden], rebuilt, gamma=self.config.gamma)}

    def corrupted(self, batch: Batch) -> Tensor:
        """What the encoder sees of every node [n, F]."""
        features, shown = batch["features"], batch["shown"]
        token = self.mask_token.expand(len(features), 1, -1)
        which = torch.where(shown < 0, -1 - shown, shown)  # 0 is the token
        seen = torch.cat([token, features], 1).gather(1, which[..., None].expand_as(features))  # [B, N, F]
        return seen[batch["kinds"] > 0]


def masked(count: int, rate: float, replaced: float, rng: np.random.Generator) -> np.ndarray:
    """Whose features stand at each of `count` nodes, int64 [count], as `GraphMAE.example` says."""
    shown = np.arange(1, count + 1)
    hidden = rng.permutation(count)[: int(rate * count)]
    others = rng.permutation(count)[: int(replaced * len(hidden))]
    shown[hidden] = -1
    shown[hidden[: len(others)]] = -2 - others
    return shown


def scaled_cosine_error(wanted: Tensor, found: Tensor, *, gamma: float) -> Tensor:
    """Mean of (1 - cosine) to the power of gamma over rows of [M, F], >= 0; 0 where there are no rows.

    A row of noughts has no direction, and counts as if it stood across.
    """
    apart = 1 - F.cosine_similarity(wanted, found, dim=1)
    return apart.clamp(min=0).pow(gamma).sum() / max(1, len(apart))


METHOD = GraphMAE
