"""GMML: restore an image from which groups of connected pixels were taken.

Atito, Awais and Kittler, "GMML is All you Need", 2022, arXiv:2205.14986.
Our reading where the paper is silent: a view is replaced by another image's pixels, not by the same image's other view;
the copied rectangle of fill "copy" is drawn evenly over the image.
"""
# B items, V views, N patches, D features, C H W channels, height, width of an image

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from training.encoders import Encoder
from training.encoders.vit import ViT
from training.methods import Batch, Item, Losses, Method
from training.views import image as views

Share = Annotated[float, Field(gt=0, le=1)]
Rectangle = tuple[slice, slice]


class GMMLConfig(BaseModel, frozen=True, extra="forbid"):
    crops: int = Field(2, ge=1)  # views of an image, each an example of its own
    crop_scale: tuple[Share, Share] = (0.05, 1.0)
    jitter_probability: float = 0.3
    jitter: tuple[float, float, float, float] = (0.1, 0.1, 0.1, 0.01)  # brightness, contrast, saturation, hue
    blur_probability: float = 0.1
    area: tuple[Share, Share] = (0.5, 0.75)  # of a view that is corrupted
    replaced_area: Share = 0.3  # of a view whose corruption is another image
    side: Share = 0.3  # of a rectangle, at most, of the view's
    fills: tuple[Literal["noise", "zeros", "copy"], ...] = Field(("noise",), min_length=1)
    shape: Literal["rectangles", "patches"] = "rectangles"  # patches: isolated ones, the ablation
    drop_only: bool = True  # the loss sees corrupted pixels only
    blocks: tuple[int, ...] = Field((6, 8, 10, 12), min_length=1)  # averaged into the reconstruction feature, from 1

    @model_validator(mode="after")
    def _ranges(self) -> "GMMLConfig":
        for name in ("crop_scale", "area"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} runs from {low} to {high}: the smaller number comes first")
        return self


class GMML(Method):
    Config = GMMLConfig
    config: GMMLConfig
    encoder: ViT

    def __init__(self, encoder: Encoder, config: GMMLConfig, preprocess: views.ImagePreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, ViT):
            raise WrongUse("method 'gmml' restores patches: it needs encoder 'vit'")
        if max(config.blocks) > encoder.config.depth:
            raise WrongUse(f"gmml: blocks {config.blocks} of an encoder that has {encoder.config.depth}")
        D, self.patch = encoder.dim, encoder.config.patch
        layers = [layer for _ in range(3) for layer in (nn.Linear(D, D), nn.GELU())]
        self.head = nn.Sequential(*layers)
        self.to_pixels = nn.ConvTranspose2d(D, 3, kernel_size=self.patch, stride=self.patch)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """clean, corrupted [V, 3, H, W]; mask [V, 1, H, W], True = altered; replace [V], True = filled in `forward`."""
        made = [self._view(item.value, rng) for _ in range(self.config.crops)]
        return {name: np.stack([view[name] for view in made]) for name in made[0]}

    def forward(self, batch: Batch) -> Losses:
        clean, mask = batch["clean"].flatten(0, 1), batch["mask"].flatten(0, 1)  # [BV, 3, H, W], [BV, 1, H, W]
        corrupted = self.replaced(batch).flatten(0, 1)
        distance = (self.restore(corrupted) - clean).abs()  # [BV, 3, H, W], in standard deviations of a channel
        counted = mask if self.config.drop_only else torch.ones_like(mask)
        return {"loss": distance[counted.expand_as(distance)].mean(), "corrupted_share": mask.float().mean()}

    def restore(self, image: Tensor) -> Tensor:
        """The image that the head sees behind a corrupted one, [B, 3, H, W] both."""
        blocks = self.encoder({"image": image}).features
        feature = torch.stack([blocks[f"block{i}"] for i in self.config.blocks]).mean(0)
        tokens = self.head(self.encoder.net.norm(feature))  # [B, N, D]
        rows = image.shape[-2] // self.patch
        return self.to_pixels(tokens.transpose(1, 2).unflatten(2, (rows, -1)))

    @staticmethod
    def replaced(batch: Batch) -> Tensor:
        """Corrupted views [B, V, 3, H, W]; those marked `replace` show another item where they are masked."""
        clean, mask, replace = batch["clean"], batch["mask"], batch["replace"]
        B, V = replace.shape
        other = (torch.arange(B)[:, None] + torch.randint(1, B, (B, V))) % B  # [B, V], never the item itself
        foreign = clean[other.to(clean.device), torch.arange(V, device=clean.device)]
        return torch.where(mask & replace[:, :, None, None, None], foreign, batch["corrupted"])

    def _view(self, image: np.ndarray, rng: np.random.Generator) -> Arrays:
        config, size = self.config, self.preprocess.size
        brightness, contrast, saturation, hue = config.jitter
        view = views.random_resized_crop(image, rng, size=size, scale=config.crop_scale)
        view = views.random_flip(view, rng)
        view = views.color_jitter(
            view,
            rng,
            probability=config.jitter_probability,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
        )
        view = views.random_blur(view, rng, probability=config.blur_probability)
        clean = views.to_array(view, self.preprocess)
        corrupted, mask, replace = self.corrupt(clean, rng)
        return {"clean": clean, "corrupted": corrupted, "mask": mask[None], "replace": np.array(replace)}

    def corrupt(self, clean: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
        """Corrupted [3, H, W], mask [H, W], and whether another image shall fill it (then nothing is changed yet)."""
        config, corrupted = self.config, clean.copy()
        replace = rng.random() < 1 / (len(config.fills) + 1)
        area = config.replaced_area if replace else rng.uniform(*config.area)
        mask = np.zeros(clean.shape[1:], bool)
        for rows, columns in self._regions(mask.shape, rng):
            if mask.mean() >= area:
                break
            mask[rows, columns] = True
            if not replace:
                corrupted[:, rows, columns] = self._fill(clean, rows, columns, rng)
        return corrupted, mask, replace

    def _regions(self, shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[Rectangle]:
        """Rectangles of any size at any place, without end; or every patch of the grid in random order."""
        H, W = shape
        if self.config.shape == "patches":
            for number in rng.permutation((H // self.patch) * (W // self.patch)):
                top, left = (int(step) * self.patch for step in divmod(number, W // self.patch))
                yield slice(top, top + self.patch), slice(left, left + self.patch)
            return
        while True:
            h, w = (int(rng.integers(1, max(1, int(self.config.side * side)) + 1)) for side in (H, W))
            top, left = int(rng.integers(H - h + 1)), int(rng.integers(W - w + 1))
            yield slice(top, top + h), slice(left, left + w)

    def _fill(self, clean: np.ndarray, rows: slice, columns: slice, rng: np.random.Generator) -> np.ndarray:
        """What a region is overwritten with, [3, h, w]."""
        shape = clean[:, rows, columns].shape
        fill = self.config.fills[int(rng.integers(len(self.config.fills)))]
        if fill == "noise":
            return rng.standard_normal(shape, np.float32)
        if fill == "zeros":
            return np.zeros(shape, np.float32)
        _, h, w = shape
        top, left = int(rng.integers(clean.shape[1] - h + 1)), int(rng.integers(clean.shape[2] - w + 1))
        return clean[:, top : top + h, left : left + w]


METHOD = GMML
