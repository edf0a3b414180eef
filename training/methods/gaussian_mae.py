"""Gaussian-MAE: most patches of a set of 3-D Gaussians are hidden, and every attribute of what they hold is regressed.

Ma, Li et al., "ShapeSplat: A Large-scale Dataset of Gaussian Splats and Their Self-Supervised Pretraining", 3DV 2025,
arXiv:2408.10906.
Our reading where the paper leaves a choice: every attribute that is looked at is normalised, and only visible patches
go through the tokenizer, so that what is hidden does not reach its batch norms either.
"""
# B items, G patches, V visible and M hidden ones, O candidates of a patch, K neighbours, C columns

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.splats import SplatsPreprocess, normalized, patched, redrawn
from training.blocks.chamfer import chamfer_l2
from training.encoders import Encoder
from training.encoders.splat_transformer import SplatTransformer
from training.heads.completer import Completer, CompleterConfig, picked
from training.methods import Batch, Item, Losses, Method


class GaussianMAEConfig(BaseModel, frozen=True, extra="forbid"):
    mask_ratio: float = Field(0.6, gt=0, lt=1)  # share of patches that are hidden
    decoder_depth: int = Field(4, ge=1)
    decoder_heads: int = Field(6, ge=1)


class GaussianMAE(Method):
    Config = GaussianMAEConfig
    config: GaussianMAEConfig
    encoder: SplatTransformer
    task_head: Completer

    def __init__(self, encoder: Encoder, config: GaussianMAEConfig, preprocess: SplatsPreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, SplatTransformer):
            raise WrongUse("method 'gaussian_mae' hides patches of Gaussians: it needs encoder 'splat_transformer'")
        if encoder.config.placed_by != preprocess.grouped_by:
            raise WrongUse(
                f"gaussian_mae: patches are grouped by '{preprocess.grouped_by}' and placed by "
                f"'{encoder.config.placed_by}': set encoder.config.placed_by to preprocess.grouped_by"
            )
        if encoder.config.neighbours > preprocess.neighbours:
            raise WrongUse(
                f"gaussian_mae: {encoder.config.neighbours} neighbours cannot be drawn from "
                f"{preprocess.neighbours} candidates: raise preprocess.neighbours"
            )
        hidden = int(config.mask_ratio * preprocess.patches)
        if hidden == 0:
            raise WrongUse(f"gaussian_mae: of {preprocess.patches} patches mask_ratio {config.mask_ratio} hides none")
        sizes = {"depth": config.decoder_depth, "heads": config.decoder_heads}
        facts = CompleterConfig(attributes=preprocess.attributes, hidden=hidden, **sizes)
        self.task_head = Completer(encoder, facts)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """centres float32 [G, C], patches float32 [G, O, C] of a draw of its own; there are no other views."""
        columns, _ = normalized(redrawn(item.value, self.preprocess.splats, rng))
        centres, patches = patched(columns, self.preprocess)
        return {"centres": centres, "patches": patches}

    def forward(self, batch: Batch) -> Losses:
        centres, patches = batch["centres"], batch["patches"]
        order = torch.rand(patches.shape[:2]).argsort(1).to(patches.device)
        found = self.task_head(self.encoder, centres, patches, order)  # [B, M, K, C]
        hidden = order[:, -found.shape[1] :]
        losses = self.errors(found, picked(patches[:, :, : found.shape[2]], hidden))
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def errors(self, found: Tensor, actual: Tensor) -> Losses:
        """Of each attribute, [B, M, K, C] both: Chamfer distance of places, else slot by slot, nearest first."""
        pairs = {name: (found[..., where], actual[..., where]) for name, where in self.preprocess.columns.items()}
        places = [values.flatten(0, 1) for values in pairs.pop("xyz")]
        return {"xyz": chamfer_l2(*places).mean()} | {name: F.l1_loss(*pair) for name, pair in pairs.items()}


METHOD = GaussianMAE
