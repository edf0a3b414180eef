"""Uni4Eye: one masked autoencoder of images and volumes, which rebuilds hidden patches as shades and as edges.

Cai et al., "Uni4Eye: Unified 2D and 3D Self-supervised Pre-training via Masked Image Modeling Transformer for
Ophthalmic Image Classification", MICCAI 2022, arXiv:2203.04614.
Our reading where the paper is silent: batches of images and of volumes take turns; half of the patches are hidden; both
decoders weigh alike; views are crops and reflections, as those of masked autoencoders are.
"""
# B items, C channels, S axes of an image (H W) or a volume (X Y Z), N patches, K visible ones, P values of a patch

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from enfold.modalities.image import Image
from enfold.modalities.volume import Volume, VolumePreprocess, standardized
from training.batches import Alternating
from training.blocks.mae_decoder import MAEDecoder
from training.blocks.patches import patchify, some
from training.encoders import Encoder
from training.encoders.unified_vit import UnifiedViT
from training.methods import Batch, Item, Losses, Method
from training.views import image as image_views
from training.views import volume as volume_views

Kind = Literal["image", "volume"]
BRANCHES = ("shade", "edge")
CHANNELS: dict[Kind, int] = {"image": 3, "volume": 1}
AXES: dict[Kind, int] = {"image": 2, "volume": 3}


class Uni4EyeConfig(BaseModel, frozen=True, extra="forbid"):
    kinds: tuple[Kind, ...] = Field(("image", "volume"), min_length=1)  # whose batches take turns
    mask_ratio: float = Field(0.5, gt=0, lt=1)  # share of patches that the encoder does not see
    edge_weight: float = Field(1.0, ge=0)  # of the decoder that rebuilds edges
    normalise_patches: bool = False  # shades to mean 0 and deviation 1 within each patch before they are rebuilt
    crop_scale: tuple[float, float] = (0.2, 1.0)  # share of an item's area or volume that a view shows
    width: int = Field(512, ge=1)  # of each decoder
    depth: int = Field(8, ge=1)
    heads: int = Field(16, ge=1)


class Uni4Eye(Method):
    Config = Uni4EyeConfig
    config: Uni4EyeConfig
    encoder: UnifiedViT
    mixes = ("image", "volume")

    def __init__(
        self,
        encoder: Encoder,
        config: Uni4EyeConfig,
        preprocess: VolumePreprocess,
        mixed: Mapping[str, Modality[Any]],
    ):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, UnifiedViT):
            raise WrongUse("method 'uni4eye' learns from images and volumes: it needs encoder 'unified_vit'")
        images = mixed.get("image")
        if not isinstance(images, Image) or images.preprocess.size % encoder.config.image_patch:
            raise WrongUse(
                "method 'uni4eye' learns from images too: let the recipe name a source in [mixed.image] whose "
                f"preprocess has a size that is a multiple of image_patch, {encoder.config.image_patch}"
            )
        self._images, self._volumes = images, Volume(preprocess)
        self.patch: dict[str, int] = {"image": encoder.config.image_patch, "volume": encoder.config.volume_patch}
        for kind, size in {"image": images.preprocess.size, "volume": preprocess.patch}.items():
            count = (size // self.patch[kind]) ** AXES[kind]  # type: ignore[index]
            if not 0 < hidden_of(count, config.mask_ratio) < count:
                raise WrongUse(f"uni4eye: of {count} patches of an {kind} mask_ratio {config.mask_ratio} hides none")
        sizes = {"width": config.width, "depth": config.depth, "heads": config.heads}
        self.decoders = nn.ModuleDict({branch: MAEDecoder(encoder.dim, **sizes) for branch in BRANCHES})
        self.heads = nn.ModuleDict(
            {
                f"{branch}_{kind}": nn.Linear(config.width, CHANNELS[kind] * self.patch[kind] ** AXES[kind])
                for branch in BRANCHES
                for kind in CHANNELS
            }
        )

    def sampler(self, items: Sequence[Item], batch: int, seed: int, start: int) -> Iterable[list[tuple[int, int]]]:
        kinds = getattr(items, "modalities", None) or [item.modality for item in items]
        return Alternating(kinds, batch, seed, start, turns=self.config.kinds)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """image float32 [3, H, W] or volume float32 [1, X, Y, Z]."""
        if item.modality == "image":
            spec = self._images.preprocess
            view = image_views.random_resized_crop(item.value, rng, size=spec.size, scale=self.config.crop_scale)
            return {"image": image_views.to_array(image_views.random_flip(view, rng), spec)}
        scan, side = self._volumes.resampled(item.value), self.preprocess.patch
        cube = volume_views.random_resized_crop(scan, rng, side=side, scale=self.config.crop_scale)
        mirrored, _ = volume_views.random_mirror(cube, cube, rng)
        return {"volume": np.ascontiguousarray(standardized(mirrored))[None]}

    def forward(self, batch: Batch) -> Losses:
        [(kind, x)] = batch.items()
        patch = self.patch[kind]
        grid = tuple(side // patch for side in x.shape[2:])
        count = int(np.prod(grid))
        visible = some(count, count - hidden_of(count, self.config.mask_ratio), len(x)).to(x.device)  # [B, K]
        hidden = torch.ones(len(x), count, device=x.device).scatter(1, visible, 0)  # [B, N], 1 = to be rebuilt
        encoded = self.encoder({kind: x}, visible=visible)

        def error(branch: str, wanted: Tensor) -> Tensor:
            decoded = self.decoders[branch](encoded.features["first"], encoded.tokens, visible, grid)
            distance = (self.heads[f"{branch}_{kind}"](decoded) - wanted) ** 2  # [B, N, P]
            # Within an item first, so that kinds with more patches do not count for more.
            return ((distance.mean(2) * hidden).sum(1) / hidden.sum(1)).mean()

        shades = patchify(x, patch)
        if self.config.normalise_patches:
            shades = (shades - shades.mean(2, keepdim=True)) / (shades.var(2, keepdim=True) + 1e-6).sqrt()
        shade = error("shade", shades)
        if not self.config.edge_weight:
            return {"loss": shade, f"{kind}_shade": shade}
        edge = error("edge", patchify(edges(x), patch))
        return {"loss": shade + self.config.edge_weight * edge, f"{kind}_shade": shade, f"{kind}_edge": edge}


def hidden_of(count: int, ratio: float) -> int:
    return int(ratio * count)


def edges(x: Tensor) -> Tensor:
    """How steeply shades change [B, C, *S], by Sobel's filters: 1 in an item's steepest place, 0 in a plain item."""
    axes = x.ndim - 2
    rise, smooth = torch.tensor([-1.0, 0.0, 1.0]).to(x), torch.tensor([1.0, 2.0, 1.0]).to(x)
    filters = []
    for axis in range(axes):
        lines = [rise if axis == other else smooth for other in range(axes)]
        filters.append(reduce(lambda made, line: made[..., None] * line, lines))  # [3] * axes
    convolve = F.conv2d if axes == 2 else F.conv3d
    # Borders repeat themselves: they are no edges.
    flat = F.pad(x.flatten(0, 1)[:, None], (1, 1) * axes, mode="replicate")  # [BC, 1, *S + 2]
    slopes = convolve(flat, torch.stack(filters)[:, None])  # [BC, axes, *S]
    steepness = slopes.square().sum(1).sqrt().reshape(x.shape)
    steepest = steepness.flatten(1).max(1).values.clamp(min=1e-6)  # [B]
    return steepness / steepest.reshape(-1, *[1] * (x.ndim - 1))


METHOD = Uni4Eye
