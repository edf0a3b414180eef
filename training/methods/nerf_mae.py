"""NeRF-MAE: three quarters of a radiance field's patches are hidden, and their colour and density are rebuilt.

Irshad et al., "NeRF-MAE: Masked AutoEncoders for Self-Supervised 3D Representation Learning for Neural Radiance
Fields", ECCV 2024, arXiv:2404.01300.
Our reading: as many patches of every item are hidden, where the released code draws each patch of a batch on its own;
the ranges of its small turns and scales are not given (`training.views.radiance`).
"""
# B batch, R voxels of a side, G patches of a side, C channels

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.radiance import Radiance, RadiancePreprocess
from training.blocks.up3d import UpBlock3D
from training.encoders import Encoder
from training.encoders.swin3d import PATCH, Swin3D
from training.methods import Batch, Item, Losses, Method
from training.views import radiance as views

SEEN = 0.01  # alpha above which a voxel has a colour


class NeRFMAEConfig(BaseModel, frozen=True, extra="forbid"):
    mask_ratio: float = Field(0.75, gt=0, lt=1)  # share of patches that is hidden


class NeRFMAE(Method):
    Config = NeRFMAEConfig
    config: NeRFMAEConfig
    encoder: Swin3D

    def __init__(self, encoder: Encoder, config: NeRFMAEConfig, preprocess: RadiancePreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, Swin3D):
            raise WrongUse("method 'nerf_mae' hides patches of a voxel grid: it needs encoder 'swin3d'")
        self.hidden = round(config.mask_ratio * encoder.grid**3)
        if not 0 < self.hidden < encoder.grid**3:
            raise WrongUse(f"nerf_mae: of {encoder.grid**3} patches mask_ratio {config.mask_ratio} hides {self.hidden}")
        self.reader = Radiance(preprocess)
        self.mask_token = nn.Parameter(torch.empty(encoder.config.dim))
        nn.init.normal_(self.mask_token, std=0.02)
        self.decoder = Decoder(encoder.config.widths)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """radiance float32 [4, R, R, R], valid float32 [R, R, R]."""
        [sample] = self.reader.prepare(item.value)
        values = views.cropped(sample.arrays["radiance"], sample.arrays["valid"])
        values, _ = views.random_turn(values, np.zeros((0, 6)), rng)
        return views.filled(views.random_zoom(values, rng), self.preprocess.size)

    def forward(self, batch: Batch) -> Losses:
        radiance, valid = batch["radiance"], batch["valid"]
        hidden = self.mask(len(radiance)).to(radiance.device)
        rgb, alpha = losses(self.rebuilt(radiance, hidden), radiance, valid, voxels(hidden))
        return {"loss": rgb + alpha, "rgb": rgb, "alpha": alpha}

    def mask(self, count: int) -> Tensor:
        """True = hidden, as many patches of every item, any as likely as another, [B, G, G, G]."""
        G = self.encoder.grid
        rank = torch.rand(count, G**3).argsort(1).argsort(1)
        return (rank < self.hidden).reshape(count, G, G, G)

    def rebuilt(self, radiance: Tensor, hidden: Tensor) -> Tensor:
        """Colour and alpha [B, 4, R, R, R] from a grid of which the `hidden` patches [B, G, G, G] are not seen."""
        patches = self.encoder.patches(radiance)
        found: Tensor = self.decoder(
            self.encoder.levels(torch.where(hidden[..., None], self.mask_token.to(patches.dtype), patches))
        )
        return found


class Decoder(nn.Module):
    """From the levels of a pyramid [B, C, G, G, G], finest first, to colour and alpha [B, 4, R, R, R]."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        finer = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(UpBlock3D(coarse, fine, skip=fine) for coarse, fine in finer)
        whole, half = widths[0], widths[0] // 2  # voxels are many: half as wide, they cost a quarter
        self.full = nn.ModuleList([UpBlock3D(whole, whole), UpBlock3D(whole, half)])
        self.voxel = nn.Conv3d(half, 4, 1)
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, levels: list[Tensor]) -> Tensor:
        inner = levels[-1]
        for up, skip in zip(self.ups, levels[-2::-1], strict=True):
            inner = up(inner, skip)
        for up in self.full:
            inner = up(inner)
        rgb, alpha = self.voxel(inner).split([3, 1], 1)
        return torch.cat([rgb, alpha.sigmoid()], 1)


def voxels(hidden: Tensor) -> Tensor:
    """Which voxels lie in hidden patches, [B, G, G, G] -> [B, R, R, R]."""
    return F.interpolate(hidden[:, None].float(), scale_factor=float(PATCH), mode="nearest")[:, 0] > 0


def losses(found: Tensor, wanted: Tensor, valid: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squares: of colour over all voxels that have one, of alpha over voxels of the place that are hidden.

    found, wanted   [B, 4, R, R, R]      valid, hidden   [B, R, R, R]
    """
    apart = (found - wanted).square()
    coloured, asked = wanted[:, 3] > SEEN, hidden & (valid > 0)
    rgb = (apart[:, :3].mean(1) * coloured).sum() / coloured.sum().clamp(min=1)
    alpha = (apart[:, 3] * asked).sum() / asked.sum().clamp(min=1)
    return rgb, alpha


METHOD = NeRFMAE
