"""A graph neural network of attention (GAT) or sums (GIN): trained along edges, exported over padded neighbours.

Veličković et al., "Graph Attention Networks", ICLR 2018, arXiv:1710.10903; Xu et al., "How Powerful are Graph Neural
Networks?" (GIN), ICLR 2019, arXiv:1810.00826. Layers and their weights are PyTorch Geometric's. It scatters messages
along edges, which no exported graph does well; `padded` computes the same from K places of neighbours of each node.
"""
# B batch, N places of nodes, n nodes of all graphs, E edges, K neighbours, F numbers of a node, H heads, D features

from typing import Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv, GINConv

from enfold.errors import WrongUse
from enfold.modalities.graph import CENTRE
from training.encoders import Encoded, Encoder, Inputs

Kind = Literal["gat", "gin"]
Pooling = Literal["mean", "sum", "max"]


class GNNConfig(BaseModel, frozen=True, extra="forbid"):
    """GraphMAE's for nodes by default."""

    layer: Kind = "gat"
    dim: int = Field(512, ge=1)
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)  # of attention
    feature_dropout: float = Field(0.2, ge=0, lt=1)  # before each layer
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    pooling: Pooling = "mean"  # of the nodes of a graph that has no centre


class GNN(Encoder):
    """Inputs {"features": [B, N, F], "neighbours": [B, N, K], "kinds": [B, N]}; the order of nodes is nothing."""

    Config = GNNConfig

    def __init__(self, config: GNNConfig, size: int):
        """size   numbers of a node"""
        super().__init__()
        if config.layer == "gat" and config.dim % config.heads:
            raise WrongUse(f"encoder 'gnn': dim {config.dim} must be a multiple of heads {config.heads}")
        self.config, self.dim = config, config.dim
        self.pooling = f"the centre's token, or {config.pooling} of all tokens"
        sizes = [size, *[config.dim] * (config.depth - 1)]
        self.net = nn.ModuleList(
            layer_of(config.layer, inside, config.dim, heads=config.heads, dropout=config.attention_dropout)
            for inside in sizes
        )
        self.activations = nn.ModuleList(nn.PReLU() for _ in sizes)

    def forward(self, inputs: Inputs) -> Encoded:
        real = inputs["kinds"] > 0
        if self.training:
            features, edges = flattened(inputs)
            tokens = features.new_zeros(*real.shape, self.dim)
            tokens[real] = self.along_edges(features, edges)
        else:
            tokens = self.padded(inputs["features"], inputs["neighbours"]) * real[..., None]
        centre = inputs["kinds"] == CENTRE
        meant = (centre | (real & ~centre.any(1, keepdim=True)))[..., None]  # of one node all poolings are its token
        if self.config.pooling == "max":
            return Encoded(tokens, tokens.masked_fill(~meant, -1e9).amax(1), real)
        total = (tokens * meant).sum(1)
        return Encoded(tokens, total / meant.sum(1) if self.config.pooling == "mean" else total, real)

    def along_edges(self, features: Tensor, edges: Tensor) -> Tensor:
        """features [n, F], edges [2, E] from a node to one that hears of it -> [n, D]"""
        for layer, activation in zip(self.net, self.activations, strict=True):
            features = activation(layer(F.dropout(features, self.config.feature_dropout, self.training), edges))
        return features

    def padded(self, features: Tensor, neighbours: Tensor) -> Tensor:
        """The same, of features [B, N, F] and neighbours [B, N, K], without dropout -> [B, N, D]"""
        for layer, activation in zip(self.net, self.activations, strict=True):
            features = activation(layer.padded(features, neighbours))
        return features


class Attention(GATConv):
    """Attends to a node's neighbours and itself."""

    def padded(self, features: Tensor, neighbours: Tensor) -> Tensor:
        values = self.lin(features)  # [B, N, HD']
        apart = values.unflatten(2, (self.heads, self.out_channels))
        own = torch.arange(1, 1 + features.shape[1], device=features.device).expand(neighbours.shape[0], -1)
        heard = torch.cat([own[..., None], neighbours], 2)  # [B, N, 1 + K]
        told = picked((apart * self.att_src).sum(3), heard)  # [B, N, 1 + K, H]
        scores = F.leaky_relu(told + (apart * self.att_dst).sum(3)[:, :, None], self.negative_slope)
        looked = scores.masked_fill((heard == 0)[..., None], -1e9).softmax(2)
        mixed = (looked[..., None] * picked(values, heard).unflatten(3, (self.heads, -1))).sum(2)  # [B, N, H, D']
        return mixed.flatten(2) + self.bias


class Sum(GINConv):
    """A small network on what a node and its neighbours are together."""

    def padded(self, features: Tensor, neighbours: Tensor) -> Tensor:
        total = (1 + self.eps) * features + picked(features, neighbours).sum(2)
        made: Tensor = self.nn(total.flatten(0, 1)).unflatten(0, features.shape[:2])
        return made


def layer_of(kind: Kind, inside: int, outside: int, *, heads: int = 1, dropout: float = 0.0) -> Attention | Sum:
    """From [n, inside] to [n, outside]; heads and dropout are attention's."""
    if kind == "gat":
        return Attention(inside, outside // heads, heads, dropout=dropout)
    widen = nn.Linear(inside, outside)
    return Sum(nn.Sequential(widen, nn.BatchNorm1d(outside), nn.ReLU(), nn.Linear(outside, outside)))


def picked(rows: Tensor, which: Tensor) -> Tensor:
    """Rows [B, N, D] by their numbers [B, N, K], which count from 1; 0 gives noughts -> [B, N, K, D]"""
    table = F.pad(rows, (0, 0, 1, 0))  # [B, 1 + N, D]
    first = torch.arange(rows.shape[0], device=rows.device) * table.shape[1]
    return F.embedding(which + first[:, None, None], table.flatten(0, 1))


def flattened(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """The nodes of a batch one after the other [n, F] and their edges [2, E], padding left out."""
    real, neighbours = inputs["kinds"] > 0, inputs["neighbours"]
    number = real.flatten().cumsum(0).reshape(real.shape) - 1  # [B, N], of each node among all
    graph, target, place = torch.nonzero((neighbours > 0) & real[..., None], as_tuple=True)
    source = number[graph, neighbours[graph, target, place] - 1]
    return inputs["features"][real], torch.stack([source, number[graph, target]])


ENCODER = GNN
