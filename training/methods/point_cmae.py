"""Point-CMAE: two random masks of one point cloud, rebuilt by two decoders that must agree on what both masks hide.

Ren et al., "Bringing Masked Autoencoders Explicit Contrastive Properties for Point Cloud Self-Supervised Learning",
ACCV 2024, arXiv:2407.05862; with one branch it is Point-MAE (Pang et al. 2022, arXiv:2203.06604).
Our reading where paper and released code differ: a token is compared with itself in the other branch (`contrast`
"same"); the code compares it with all of them ("all").
"""
# B items, A augmented views of an item, G patches, K points of a patch, V visible ones, D width

from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.points import PointsPreprocess, grouped, normalized, subset
from training.blocks.chamfer import chamfer_l2
from training.blocks.nt_xent import nt_xent
from training.blocks.point_decoder import PointDecoder
from training.blocks.projection_head import projection_head
from training.encoders import Encoder
from training.encoders.point_transformer import PointTransformer
from training.methods import Batch, Item, Losses, Method
from training.views import points as views


class PointCMAEConfig(BaseModel, frozen=True, extra="forbid"):
    mask_ratio: float = Field(0.6, gt=0, lt=1)  # share of patches that a mask hides
    # What is compared: a patch that both masks hide with itself, or with all patches, in the other branch; with one
    # branch nothing (Point-MAE), or two augmented views of an item (the paper's counterexample).
    contrast: Literal["same", "all", "views", "nothing"] = "same"
    temperature: float = Field(0.1, gt=0)  # of "views"
    chamfer_weight: float = Field(1000.0, gt=0)  # for clouds within a distance of 1
    decoder_depth: int = Field(4, ge=1)
    decoder_heads: int = Field(6, ge=1)
    scale: tuple[float, float] = (2 / 3, 3 / 2)
    shift: float = Field(0.2, ge=0)


class PointCMAE(Method):
    Config = PointCMAEConfig
    config: PointCMAEConfig
    encoder: PointTransformer

    def __init__(self, encoder: Encoder, config: PointCMAEConfig, preprocess: PointsPreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, PointTransformer):
            raise WrongUse("method 'point_cmae' hides patches of points: it needs encoder 'point_transformer'")
        if not 0 < hidden_of(preprocess.patches, config.mask_ratio) < preprocess.patches:
            raise WrongUse(f"point_cmae: of {preprocess.patches} patches mask_ratio {config.mask_ratio} hides none")
        sizes = {"depth": config.decoder_depth, "heads": config.decoder_heads, "outputs": 3 * preprocess.neighbours}
        branches = 2 if config.contrast in ("same", "all") else 1
        self.decoders = nn.ModuleList(PointDecoder(encoder.config.dim, **sizes) for _ in range(branches))
        if config.contrast == "views":
            self.projection = projection_head([encoder.dim, encoder.dim, encoder.config.dim])

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """centres float32 [A, G, 3], patches float32 [A, G, K, 3]: two views where they are compared, else one."""
        spec, config = self.preprocess, self.config
        cloud = normalized(subset(item.value, spec.points))
        made = []
        for _ in range(2 if config.contrast == "views" else 1):
            view = views.random_shift(views.random_scale(cloud, rng, scale=config.scale), rng, most=config.shift)
            made.append(grouped(view, spec.patches, spec.neighbours))
        return {"centres": np.stack([centres for centres, _ in made]), "patches": np.stack([own for _, own in made])}

    def forward(self, batch: Batch) -> Losses:
        centres, patches = batch["centres"][:, 0], batch["patches"][:, 0]  # both branches see the same points
        tokens = self.encoder.tokens(patches)
        masks = [self.mask(len(tokens)).to(tokens.device) for _ in self.decoders]  # [B, G]
        found = [
            self.rebuilt(tokens, centres, patches, mask, decoder)
            for mask, decoder in zip(masks, self.decoders, strict=True)
        ]
        chamfer = torch.stack([distance for distance, _ in found]).sum()
        losses = {"loss": self.config.chamfer_weight * chamfer, "chamfer": chamfer / len(found)}
        if self.config.contrast == "nothing":
            return losses
        if self.config.contrast == "views":
            first, second = (self.embedding(batch, view) for view in range(2))
            contrast = nt_xent(first, second, temperature=self.config.temperature)
        else:
            agreement = same_patch if self.config.contrast == "same" else all_patches
            contrast = agreement(found[0][1], found[1][1], masks[0] & masks[1])
        return losses | {"loss": losses["loss"] + contrast, "contrast": contrast}

    def mask(self, count: int) -> Tensor:
        """True = hidden, as many patches of every item, any as likely as another, [B, G]."""
        G = self.preprocess.patches
        rank = torch.rand(count, G).argsort(1).argsort(1)
        return rank < hidden_of(G, self.config.mask_ratio)

    def rebuilt(
        self, tokens: Tensor, centres: Tensor, patches: Tensor, hidden: Tensor, decoder: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """How far the decoder's points lie from the hidden ones, and its features of all patches [B, G, D]."""
        B = len(tokens)
        seen, where = (values[~hidden].unflatten(0, (B, -1)) for values in (tokens, centres))  # [B, V, …]
        points, features = decoder(self.encoder.attend(seen, where), centres, hidden)
        return chamfer_l2(points.flatten(0, 1).unflatten(1, (-1, 3)), patches[hidden]).mean(), features

    def embedding(self, batch: Batch, view: int) -> Tensor:
        inputs = {name: values[:, view] for name, values in batch.items()}
        projected: Tensor = self.projection(self.encoder(inputs).embedding)
        return projected


def hidden_of(patches: int, ratio: float) -> int:
    return int(ratio * patches)


def same_patch(first: Tensor, second: Tensor, both: Tensor) -> Tensor:
    """1 - cosine of a patch's features [B, G, D] in the two branches, mean over those that `both` [B, G] masks hide."""
    return ((1 - F.cosine_similarity(first, second, dim=2)) * both).sum() / both.sum().clamp(min=1)


def all_patches(first: Tensor, second: Tensor, both: Tensor) -> Tensor:
    """1 - cosine of such a patch with every patch of the other branch, mean over all those pairs."""
    cosine = F.normalize(first, dim=2) @ F.normalize(second, dim=2).transpose(1, 2)  # [B, G, G]
    return ((1 - cosine).mean(2) * both).sum() / both.sum().clamp(min=1)


METHOD = PointCMAE
