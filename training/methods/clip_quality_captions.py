"""CLIP with quality captions: plain CLIP, whose texts alone decide how good its image tokens are for dense tasks.

Vasu et al., "CLIP with Quality Captions: A Strong Pretraining for Vision Tasks", 2024, arXiv:2405.08911; the objective
is that of Radford et al. 2021, arXiv:2103.00020.
Our reading where the paper is silent: items of a batch that have the same caption are no wrong answers to each other;
crops show half of the image or more, so that captions stay true of them, and are never mirrored, since captions name
left and right. Nothing but the texts depends on whose captions are read.
Objective "pixels" is the baseline that the paper compares with: the same image tower as a masked autoencoder (He et al.
2022, arXiv:2111.06377), without any text.
"""
# B items, T tokens of a caption, N patches, K visible ones, C H W channels, height, width

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from enfold.modalities.text import Text
from training import recipe
from training.blocks.clip_loss import LogitScale, clip_loss
from training.blocks.mae_decoder import MAEDecoder
from training.blocks.patches import patchify, some
from training.encoders import Encoder, build
from training.encoders.projected import Projected
from training.encoders.vit import ViT
from training.methods import Batch, Item, Losses, Method
from training.views import image as views


class CLIPConfig(BaseModel, frozen=True, extra="forbid"):
    """The paper's ViT-B/16 has a text tower of twelve causal blocks and 512 shared features."""

    objective: Literal["captions", "pixels"] = "captions"
    caption_source: tuple[str, ...] = Field(("quality",), min_length=1)  # sides that hold captions, one a line
    text_encoder: recipe.Encoder = recipe.Encoder(
        name="projected",
        config={"name": "causal_lm", "config": {"dim": 512, "depth": 12, "heads": 8, "pool": "end"}, "dim": 512},
    )
    temperature: float = Field(0.07, gt=0)  # at first; learnt
    crop_scale: tuple[float, float] = (0.5, 1.0)  # share of an image's area that a view shows
    # Of "pixels".
    mask_ratio: float = Field(0.75, gt=0, lt=1)
    width: int = Field(512, ge=1)  # of the decoder
    depth: int = Field(8, ge=1)
    heads: int = Field(16, ge=1)


class CLIPQualityCaptions(Method):
    Config = CLIPConfig
    config: CLIPConfig
    takes_sides = True

    def __init__(
        self,
        encoder: Encoder,
        config: CLIPConfig,
        preprocess: views.ImagePreprocess,
        sides: Mapping[str, Modality[Any]],
    ):
        super().__init__(encoder, config, preprocess)
        if config.objective == "pixels":
            self._build_decoder(encoder, config)
            return
        for name in config.caption_source:
            if not isinstance(sides.get(name), Text):
                raise WrongUse(
                    f"method 'clip_quality_captions' reads captions: let the recipe name a text column [sides.{name}]; "
                    f"it names {', '.join(sides) or 'none'}"
                )
        self.captions = sides[config.caption_source[0]]
        self.text_encoder = build(config.text_encoder.name, config.text_encoder.config, self.captions.input_size)
        if self.text_encoder.dim != encoder.dim:
            raise WrongUse(
                f"clip_quality_captions compares images and texts: the image encoder has {encoder.dim} features, "
                f"the text encoder {self.text_encoder.dim}; let them have as many"
            )
        self.scale = LogitScale(1 / config.temperature)

    def _build_decoder(self, encoder: Encoder, config: CLIPConfig) -> None:
        vit = encoder.encoder if isinstance(encoder, Projected) else encoder
        if not isinstance(vit, ViT):
            raise WrongUse("clip_quality_captions: objective 'pixels' hides patches: it needs encoder 'vit'")
        self.patch = vit.config.patch
        self.decoder = MAEDecoder(vit.dim, width=config.width, depth=config.depth, heads=config.heads)
        self.pixels = nn.Linear(config.width, 3 * self.patch**2)

    def towers(self) -> dict[str, tuple[recipe.Encoder, Encoder]]:
        if self.config.objective == "pixels":
            return {}
        return {self.config.caption_source[0]: (self.config.text_encoder, self.text_encoder)}

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """image [3, H, W]; of captions input_ids, attention_mask [T] too: the view is drawn before the caption is."""
        config, spec = self.config, self.preprocess
        view = views.random_resized_crop(item.value, rng, size=spec.size, scale=config.crop_scale)
        image = {"image": views.to_array(view, spec)}
        if config.objective == "pixels":
            return image
        lines = [line for name in config.caption_source for line in item.side(name).splitlines()]
        text = self.captions.prepare(lines[rng.integers(len(lines))])[0].arrays
        T = self.captions.preprocess.max_tokens
        return image | {name: np.pad(array, (0, T - len(array))) for name, array in text.items()}

    def forward(self, batch: Batch) -> Losses:
        return self.pixels_loss(batch["image"]) if self.config.objective == "pixels" else self.captions_loss(batch)

    def captions_loss(self, batch: Batch) -> Losses:
        longest = int(batch["attention_mask"].sum(1).max())
        text = {name: batch[name][:, :longest] for name in ("input_ids", "attention_mask")}
        images, texts = self.encoder({"image": batch["image"]}).embedding, self.text_encoder(text).embedding
        same = (text["input_ids"][:, None] == text["input_ids"]).all(2)  # [B, B]
        scale = self.scale()
        return {"loss": clip_loss(images, texts, scale, same=same), "scale": scale.detach()}

    def pixels_loss(self, image: Tensor) -> Losses:
        """Of hidden patches, each brought to mean 0 and deviation 1."""
        wanted = patchify(image, self.patch)  # [B, N, C * patch ** 2]
        wanted = (wanted - wanted.mean(2, keepdim=True)) / (wanted.var(2, keepdim=True) + 1e-6).sqrt()
        B, N = wanted.shape[:2]
        visible = some(N, N - int(self.config.mask_ratio * N), B).to(image.device)  # [B, K]
        hidden = torch.ones(B, N, device=image.device).scatter(1, visible, 0)
        grid = (image.shape[2] // self.patch, image.shape[3] // self.patch)
        encoded = self.encoder({"image": image}, visible=visible)
        found = self.pixels(self.decoder(encoded.features["first"], encoded.tokens, visible, grid))
        return {"loss": (((found - wanted) ** 2).mean(2) * hidden).sum() / hidden.sum()}

    def after_step(self, progress: float) -> None:
        if self.config.objective == "captions":
            self.scale.clamp()


METHOD = CLIPQualityCaptions
