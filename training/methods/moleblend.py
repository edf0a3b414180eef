"""MoleBLEND: of every pair of atoms the encoder sees one relation drawn by chance, and tells all three of them.

Yu, Zhang, Ni, Feng, Lan, Zhou and Liu, "Multimodal Molecular Pretraining via Modality Blending", ICLR 2024,
arXiv:2307.06235. Relations are how many bonds lie between two atoms, which bonds, and where one lies from the other.
Our reading: what is drawn of two atoms is the same in both directions, and drawn for each molecule by itself; places
are told in the frame of the molecule's own axes, for in any other an encoder that is blind to turns could only guess.
"""
# B molecules, N atoms, D features, P bonds of a path

import numpy as np
import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.molecule import BONDS, FARTHEST, PATH, Molecule, MoleculePreprocess
from training.blocks.pair_head import PairHead
from training.encoders import Encoder, Inputs
from training.encoders.transformer_m import Shown, TransformerM, trimmed
from training.methods import Batch, Item, Losses, Method

_OWN = ("pairs", "placed_atoms", "clean", "noise")  # what an example has beyond the encoder's inputs


class MoleblendConfig(BaseModel, frozen=True, extra="forbid"):
    """The paper's by default."""

    shares: tuple[float, float, float] = (0.2, 0.2, 0.6)  # of pairs that show hops, ways, places
    degrees: float = Field(0.4, ge=0, le=1)  # share of atoms that show their degree, the others their place
    noise: float = Field(0.2, gt=0)  # ångström, on every coordinate that is seen
    pair_dim: int = Field(32, ge=1)
    hops_weight: float = 0.1
    ways_weight: float = 0.1
    places_weight: float = 0.5
    noise_weight: float = 6.0

    @model_validator(mode="after")
    def _shares_are_shares(self) -> "MoleblendConfig":
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"shares {self.shares} must be three numbers from 0 on that sum up to 1")
        return self


class Moleblend(Method):
    Config = MoleblendConfig
    config: MoleblendConfig
    encoder: TransformerM
    takes_reader = True

    def __init__(self, encoder: Encoder, config: MoleblendConfig, preprocess: MoleculePreprocess, reader: Molecule):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, TransformerM):
            raise WrongUse("method 'moleblend' blends relations of atoms: it needs encoder 'transformer_m'")
        self._reader, D = reader, encoder.dim
        self.hops_head = PairHead(D, config.pair_dim, FARTHEST + 1)
        self.ways_head = PairHead(D, config.pair_dim, PATH * BONDS)
        self.places_head = PairHead(D, config.pair_dim, 3)
        self.noise_head = NoiseHead(D, encoder.config.heads)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """The encoder's inputs, their places with noise; and what is shown of pairs and atoms, places and noise."""
        [sample, *_] = self._reader.prepare(item.value)
        inputs = sample.arrays
        if not inputs["placed"].all() or not inputs["degrees"].all():
            raise WrongUse(
                f"item {item.index} has no bonds or no coordinates, which are blended: give every molecule both "
                '(preprocess.views = "both")'
            )
        most, n = self.preprocess.max_atoms, len(inputs["atoms"])
        pairs = np.triu(rng.choice(3, (n, n), p=self.config.shares), 1)
        clean = framed(inputs["places"])
        noise = rng.normal(0, self.config.noise, clean.shape).astype(np.float32)
        own = {
            "pairs": np.pad(pairs + pairs.T, ((0, 0), (0, most - n))),
            "placed_atoms": (rng.random(n) >= self.config.degrees).astype(np.int64),
            "clean": clean,
            "noise": noise,
        }
        return {
            name: np.pad(one, [(0, most - n), *[(0, 0)] * (one.ndim - 1)])
            for name, one in {**inputs, **own, "places": clean + noise}.items()
        }

    def forward(self, batch: Batch) -> Losses:
        inputs, own = parted(batch)
        shown = Shown(own["pairs"], own["placed_atoms"] > 0)
        atoms = self.encoder(inputs, shown=shown).tokens[:, 1:]  # [B, N, D]
        real = inputs["atoms"][:, :, 0] > 0
        pair = real[:, :, None] & real[:, None] & ~torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
        ways, clean = inputs["ways"][:, :, : real.shape[1]], own["clean"]
        losses = {
            "hops": F.cross_entropy(self.hops_head(atoms)[pair], inputs["hops"][:, :, : real.shape[1]][pair] - 1),
            "ways": mean_error(self.ways_head(atoms)[pair].unflatten(1, (PATH, BONDS)), ways[pair] - 1),
            "places": off_course(self.places_head(atoms)[pair], (clean[:, None] - clean[:, :, None])[pair]),
            "noise": off_course(
                self.noise_head(atoms, inputs["places"], real)[real & shown.placed], own["noise"][real & shown.placed]
            ),
        }
        weights = {name: getattr(self.config, f"{name}_weight") for name in losses}
        return {"loss": torch.stack([weights[name] * one for name, one in losses.items()]).sum(), **losses}


class NoiseHead(nn.Module):
    """How each atom was moved [B, N, 3]: attention along directions, so that what it tells turns with the molecule.

    As Transformer-M's, but with one projection for all three axes, where the released code has one for each.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, 1, bias=False)

    def forward(self, atoms: Tensor, places: Tensor, real: Tensor) -> Tensor:
        query, key, value = self.qkv(atoms).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, H, N, D / H]
        scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
        looked = scores.masked_fill(~real[:, None, None], -1e9).softmax(3)  # [B, H, N, N]
        apart = places[:, None] - places[:, :, None]
        course = apart / (apart.norm(dim=3, keepdim=True) + 1e-5)  # [B, N, N, 3]
        mixed = torch.einsum("bhij,bijx,bhjd->bixhd", looked, course, value)
        found: Tensor = self.out(mixed.flatten(3))[..., 0]
        return found


def parted(batch: Batch) -> tuple[Inputs, Batch]:
    """The encoder's inputs and what else there is, with no more padding than the largest molecule needs."""
    inputs = trimmed(batch)
    inputs["pairs"] = inputs["pairs"][:, :, : inputs["atoms"].shape[1]]
    own = {name: inputs.pop(name) for name in _OWN}
    return inputs, own


def mean_error(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean cross-entropy of logits [M, P, C] against numbers [M, P], negative ones left out; 0 where there are none."""
    known = wanted >= 0
    return F.cross_entropy(logits[known], wanted[known], reduction="sum") / known.sum().clamp(min=1)


def off_course(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean of 1 - cosine over rows of [M, 3]: 1 for a guess; 0 where there are no rows."""
    apart = 1 - F.cosine_similarity(found, wanted, dim=1)
    return apart.sum() / max(1, len(apart))


def framed(places: np.ndarray) -> np.ndarray:
    """The same molecule in the frame of its own axes, longest first, float32 [n, 3].

    The first two point to where the sum of cubes is positive, the third makes them a right hand: a molecule in any
    place and turn gives the same numbers, and its mirror image others. Symmetric ones have several such frames.
    """
    moved = places.astype(float) - places.mean(0)
    axes = np.linalg.eigh(moved.T @ moved)[1][:, ::-1]
    along = moved @ axes
    axes = axes * np.where((along**3).sum(0) < 0, -1.0, 1.0)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    found: np.ndarray = (moved @ axes).astype(np.float32)
    return found


METHOD = Moleblend
