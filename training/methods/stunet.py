"""STU-Net: a 3-D U-Net that grows in depth and width together, pretrained on the labels of every voxel.

Huang et al., "STU-Net: Scalable and Transferable Medical Image Segmentation Models Empowered by Large-Scale Supervised
Pre-training", 2023, arXiv:2304.06716.
Our reading where the paper is silent: a third of the cubes have a labelled voxel in their middle, as nnU-Net's do.
"""
# B batch, K classes, L levels of the decoder, P voxels of a side

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from enfold.modalities.volume import Volume, VolumePreprocess, Voxels, standardized
from training.blocks.dice_ce import dice_ce
from training.encoders import Encoder
from training.encoders.stunet import STUNet as STUNetEncoder
from training.heads.unet import UNet, UNetConfig
from training.methods import Batch, Item, Losses, Method
from training.views import volume as views


class STUNetConfig(BaseModel, frozen=True, extra="forbid"):
    labels: tuple[str, ...] = Field(min_length=2)  # by number in the side `labels`; the first is background
    on_label: float = Field(1 / 3, ge=0, le=1)  # share of cubes with a voxel of some class in their middle
    mirror: bool = True  # not where left and right are classes of their own


class STUNet(Method):
    Config = STUNetConfig
    config: STUNetConfig
    task_head: UNet
    takes_sides = True
    fresh = ("task_head.maps.",)  # other data has other classes

    def __init__(
        self,
        encoder: Encoder,
        config: STUNetConfig,
        preprocess: VolumePreprocess,
        sides: Mapping[str, Modality[Any]],
    ):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, STUNetEncoder):
            raise WrongUse("method 'stunet' grows its own encoder: it needs encoder 'stunet'")
        maps = sides.get("labels")
        if not isinstance(maps, Volume) or maps.preprocess.spacing != preprocess.spacing:
            raise WrongUse(
                "method 'stunet' learns the label of every voxel: let the recipe name a volume column [sides.labels] "
                f"whose preprocess has the scans' spacing, {preprocess.spacing}"
            )
        self._scans, self._maps = Volume(preprocess), maps
        self.task_head = UNet(encoder, UNetConfig(labels=config.labels))
        self._read: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """volume float32 [1, P, P, P], labels int64 [P, P, P]."""
        view, truth = views.random_cube(
            *self._at_spacing(item), rng, side=self.preprocess.patch, on_label=self.config.on_label
        )
        if self.config.mirror:
            view, truth = views.random_mirror(view, truth, rng)
        return {"volume": views.random_light(view, rng)[None], "labels": truth.astype(np.int64)}

    def forward(self, batch: Batch) -> Losses:
        maps = self.task_head(self.encoder({"volume": batch["volume"]}).features, all_maps=True)
        losses = [dice_ce(logits, nearest(batch["labels"], logits)) for logits in maps]
        weights = level_weights(len(maps))
        return {"loss": sum(weight * loss for weight, loss in zip(weights, losses, strict=True)), "finest": losses[0]}

    def _at_spacing(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Scan and labels at the encoder's spacing, kept: volumes are few, and every step takes cubes of them."""
        if item.index not in self._read:
            scan, labels = item.value, item.side("labels")
            self._check(scan, labels)
            numbers = self._maps.resampled(labels, nearest=True).astype(np.uint8)
            self._read[item.index] = standardized(self._scans.resampled(scan)), numbers
        return self._read[item.index]

    def _check(self, scan: Voxels, labels: Voxels) -> None:
        if scan.values.shape != labels.values.shape or not np.allclose(scan.affine, labels.affine, atol=1e-3):
            raise WrongUse("a scan and its label map lie on one grid: resample the map to the scan's shape and affine")
        if labels.values.max() >= len(self.config.labels):
            raise WrongUse(
                f"a label map has class {int(labels.values.max())}; "
                f"config.labels names {len(self.config.labels)} classes"
            )


def nearest(labels: Tensor, logits: Tensor) -> Tensor:
    """[B, P, P, P] at the resolution of logits [B, K, X, Y, Z]: the nearest voxel's class."""
    return F.interpolate(labels[:, None].float(), size=logits.shape[2:], mode="nearest")[:, 0].long()


def level_weights(count: int) -> Tensor:
    """Halved from level to level, nothing for the coarsest, 1 in all; a decoder of one level keeps it."""
    weights = 0.5 ** torch.arange(count)
    if count > 1:
        weights[-1] = 0
    return weights / weights.sum()


METHOD = STUNet
