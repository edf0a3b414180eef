"""A transformer of atoms: what lies between two of them is a bias of their attention, in bonds, in space or in both.

Luo et al., "One Transformer Can Understand Both 2D & 3D Molecular Data" (Transformer-M), ICLR 2023, arXiv:2210.01765,
after Ying et al. 2021 (Graphormer), arXiv:2106.05234. Our reading where they are silent: norms stand before attention
and MLP, and once behind the last block. Blocks are timm's.
"""
# B molecules, N atoms, M at most, H heads, D features, K Gaussian kernels, P bonds of a path

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, Field, model_validator
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.modalities.molecule import BONDS, DEGREES, FARTHEST, FEATURES
from training.encoders import Encoded, Encoder, Inputs

HOPS, WAYS, PLACES = range(3)  # what may be known of a pair
_HIDDEN = -1e9
_CENTRALITY = 0.01  # of a sum over atoms
_LEAST_WIDTH = 0.01  # of a kernel


class TransformerMConfig(BaseModel, frozen=True, extra="forbid"):
    """The paper's by default."""

    dim: int = Field(768, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(32, ge=1)
    mlp_ratio: float = Field(1.0, gt=0)
    kernels: int = Field(128, ge=1)  # that a distance is seen through
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    drop_path: float = Field(0.1, ge=0, lt=1)
    pool: Literal["cls", "mean"] = "cls"  # the embedding: the token that stands for the whole, or the mean of atoms

    @model_validator(mode="after")
    def _fit(self) -> "TransformerMConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        return self


@dataclass(frozen=True)
class Shown:
    """What a training lets the encoder see, where both views are there."""

    pairs: Tensor  # int64 [B, N, N]: HOPS, WAYS or PLACES
    placed: Tensor  # bool [B, N]: of an atom its place among the others, and not its degree


class TransformerM(Encoder):
    """Inputs as `Molecule.prepare` makes them; a molecule is the same however it is turned or its atoms are ordered.

    In training, padding that no molecule of the batch needs is left out, of tokens too.
    """

    Config = TransformerMConfig
    first: Tensor

    def __init__(self, config: TransformerMConfig, size: int):
        """size   M"""
        super().__init__()
        self.config, self.dim = config, config.dim
        self.pooling = "first token" if config.pool == "cls" else "mean of atoms"
        D, H = config.dim, config.heads
        self.features = nn.Embedding(sum(FEATURES), D)
        self.register_buffer("first", torch.tensor([0, *FEATURES[:-1]]).cumsum(0), persistent=False)
        self.degrees = nn.Embedding(DEGREES + 1, D, padding_idx=0)
        self.whole_token = nn.Parameter(torch.randn(D) * 0.02)
        self.whole_bias = nn.Parameter(torch.zeros(H))
        self.hops = nn.Embedding(FARTHEST + 2, H, padding_idx=0)
        self.ways = nn.Embedding(BONDS + 1, H, padding_idx=0)
        self.kernels = Kernels(config.kernels)
        self.near = nn.Sequential(nn.Linear(config.kernels, config.kernels), nn.GELU(), nn.Linear(config.kernels, H))
        self.centrality = nn.Linear(config.kernels, D)
        self.net = nn.ModuleList(
            Block(
                D,
                H,
                config.mlp_ratio,
                qkv_bias=True,
                proj_drop=config.dropout,
                attn_drop=config.attention_dropout,
                drop_path=config.drop_path,
            )
            for _ in range(config.depth)
        )
        for block in self.net:
            block.attn.fused_attn = False  # torch's own is not exported where length is free
        self.norm = nn.LayerNorm(D)
        for table in (self.features, self.degrees, self.hops, self.ways):
            nn.init.normal_(table.weight, std=0.02)
        for table in (self.degrees, self.hops, self.ways):
            nn.init.zeros_(table.weight[0])

    def forward(self, inputs: Inputs, *, shown: Shown | None = None) -> Encoded:
        inputs = trimmed(inputs) if self.training else inputs
        real = inputs["atoms"][:, :, 0] > 0  # [B, N]
        kernels = self.kernels(inputs["atoms"][:, :, 0], inputs["places"])  # [B, N, N, K]
        bias = self.bias(inputs, kernels, shown)  # [B, H, N, N]
        hidden = torch.where(F.pad(real, (1, 0), value=True), 0.0, _HIDDEN)[:, None, None]  # [B, 1, 1, N + 1]
        start = torch.arange(bias.shape[2] + 1, device=bias.device) == 0
        whole = (start | start[:, None]) * self.whole_bias[:, None, None]  # [H, N + 1, N + 1]
        mask = F.pad(bias, (1, 0, 1, 0)) + whole + hidden
        atoms = self.atoms(inputs, kernels, shown) * real[..., None]
        tokens = torch.cat([self.whole_token.expand(atoms.shape[0], 1, -1), atoms], 1)  # [B, N + 1, D]
        for block in self.net:
            tokens = block(tokens, attn_mask=mask)
        tokens = self.norm(tokens) * F.pad(real, (1, 0), value=True)[..., None]
        token_mask = F.pad(real, (1, 0), value=True)
        if self.config.pool == "cls":
            return Encoded(tokens, tokens[:, 0], token_mask)
        return Encoded(tokens, tokens[:, 1:].sum(1) / real.sum(1, keepdim=True), token_mask)

    def bias(self, inputs: Inputs, kernels: Tensor, shown: Shown | None = None) -> Tensor:
        """Of each pair of atoms [B, H, N, N]: the sum of what is there, or the one relation that is shown of it."""
        relations = self.relations(inputs, kernels)
        if shown is None:
            return sum(relations[1:], relations[0])
        chosen = F.one_hot(shown.pairs, 3).unbind(3)
        return sum(
            (one[:, None] * relation for one, relation in zip(chosen, relations, strict=True)),
            torch.zeros_like(relations[0]),
        )

    def relations(self, inputs: Inputs, kernels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How many bonds away, which bonds, how far: a bias of each [B, H, N, N], 0 where it is not known."""
        atoms = torch.arange(inputs["hops"].shape[1], device=kernels.device)
        hops, ways = (inputs[name].index_select(2, atoms) for name in ("hops", "ways"))  # [B, N, N], [B, N, N, P]
        count = (ways > 0).sum(3, keepdim=True).clamp(min=1)
        placed = inputs["placed"][:, :, None] * inputs["placed"][:, None]
        found = (self.hops(hops), self.ways(ways).sum(3) / count, self.near(kernels) * placed[..., None])
        of_hops, of_ways, of_places = (one.permute(0, 3, 1, 2) for one in found)
        return of_hops, of_ways, of_places

    def atoms(self, inputs: Inputs, kernels: Tensor, shown: Shown | None = None) -> Tensor:
        """What each atom is, how many neighbours it has and how near the others are, or one of these [B, N, D]."""
        own = self.features(inputs["atoms"] + self.first).sum(2)
        degree, placed = self.degrees(inputs["degrees"]), inputs["placed"]
        central = self.centrality(_CENTRALITY * (kernels * placed[:, None, :, None]).sum(2)) * placed[..., None]
        if shown is None:
            return own + degree + central
        return own + torch.where(shown.placed[..., None], central, degree)


class Kernels(nn.Module):
    """Distances as Gaussian kernels see them, scaled and moved by what the two atoms are: [B, N, N, K]."""

    def __init__(self, count: int):
        super().__init__()
        self.scale, self.shift = (nn.Embedding(FEATURES[0] ** 2, 1) for _ in range(2))
        self.mean, self.width = (nn.Parameter(torch.rand(count) * 3) for _ in range(2))
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, elements: Tensor, places: Tensor) -> Tensor:
        """elements   [B, N]   places   [B, N, 3]"""
        kinds = elements[:, :, None] * FEATURES[0] + elements[:, None]
        far = (places[:, :, None] - places[:, None]).square().sum(3, keepdim=True).sqrt()  # [B, N, N, 1]
        width = self.width.abs() + _LEAST_WIDTH
        apart = (self.scale(kinds) * far + self.shift(kinds) - self.mean) / width
        return torch.exp(-0.5 * apart.square()) / (width * math.sqrt(2 * math.pi))


def trimmed(batch: Inputs) -> Inputs:
    """With no more atoms than the largest molecule has."""
    most = int((batch["atoms"][:, :, 0] > 0).sum(1).max())
    return {name: values[:, :most] for name, values in batch.items()}


ENCODER = TransformerM
