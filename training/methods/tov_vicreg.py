"""TOV-VICReg: two views of an observation agree, and a head tells whether three observations are in order.

Goulao and Oliveira, "Pretraining the Vision Transformer using self-supervised methods for vision based Deep
Reinforcement Learning", 2022, arXiv:2209.10901.
Our reading where the paper is silent: frames are pictures and not colours of one, so that what changes hue and
saturation leaves grey ones as they are; every frame of an observation is changed by the same draws.
"""
# B videos, T frames of an observation, C channels of a frame, S side, D features

from itertools import pairwise, permutations
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.video import Frames, Video, VideoPreprocess, normalize
from training.blocks.vicreg import vicreg
from training.encoders import Encoder
from training.encoders.vit import ViT
from training.heads.order import Order, OrderConfig
from training.methods import Batch, Item, Losses, Method
from training.views import image as views
from training.views.video import alike

Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]

ORDERS = torch.tensor(list(permutations(range(3))))  # [6, 3]; the first is the identity
SOLARISED = 120  # from this value up, of 255


class TOVVICRegConfig(BaseModel, frozen=True, extra="forbid"):
    projection: tuple[int, ...] = Field((1024, 1024, 1024), min_length=2)  # widths of the projector's layers
    invariance_weight: Weight = 10.0
    variance_weight: Weight = 10.0
    covariance_weight: Weight = 10.0
    order_weight: Weight = 0.1  # 0: VICReg
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    jitter_probability: Probability = 0.8
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)  # brightness, contrast, saturation, hue
    gray_probability: Probability = 0.2
    blur_probability: tuple[Probability, Probability] = (1.0, 0.1)  # of the first view and the second
    blur_radius: tuple[float, float] = (0.1, 0.2)  # pixels
    solarise_probability: tuple[Probability, Probability] = (0.0, 0.2)


class TOVVICReg(Method):
    Config = TOVVICRegConfig
    config: TOVVICRegConfig
    task_head: Order

    def __init__(self, encoder: Encoder, config: TOVVICRegConfig, preprocess: VideoPreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(preprocess, VideoPreprocess):
            raise WrongUse("method 'tov_vicreg' learns from the order of frames: it needs modality 'video'")
        if not isinstance(encoder, ViT) or encoder.config.channels != preprocess.channels:
            raise WrongUse(
                "method 'tov_vicreg' takes the frames of an observation as channels of one image: it needs encoder "
                f"'vit' with config.channels = {preprocess.channels}"
            )
        self._video = Video(preprocess)
        widths = (encoder.dim, *config.projection)
        hidden = [part for a, b in pairwise(widths[:-1]) for part in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU())]
        self.projector = nn.Sequential(*hidden, nn.Linear(widths[-2], widths[-1], bias=False))
        if config.order_weight:
            self.task_head = Order(encoder, OrderConfig())

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """first, second [T, C, S, S]: views of an observation; before, after: its neighbours, where order counts."""
        before, now, after = self.observations(item.value, rng)
        made = {"first": self._strong(now, rng, 0), "second": self._strong(now, rng, 1)}
        if self.config.order_weight:
            made |= {"before": self.weak(before, rng), "after": self.weak(after, rng)}
        return {name: normalize(view) for name, view in made.items()}

    def forward(self, batch: Batch) -> Losses:
        config = self.config
        encoded = self.encoder({"video": torch.cat(list(batch.values()))}).embedding.chunk(len(batch))
        embedding = dict(zip(batch, encoded, strict=True))  # each [B, D]
        # One view after the other: the projector's batch norm takes each by itself, as VICReg's does.
        terms = vicreg(self.projector(embedding["first"]), self.projector(embedding["second"]))
        loss = (
            config.invariance_weight * terms.invariance
            + config.variance_weight * terms.variance
            + config.covariance_weight * terms.covariance
        )
        losses = terms._asdict()
        if config.order_weight:
            three = torch.stack([embedding[name] for name in ("first", "before", "after")], 1)
            losses["order"] = self.order_loss(three, torch.randint(len(ORDERS), (len(three),)))
            loss = loss + config.order_weight * losses["order"]
        return {"loss": loss, **losses}

    def order_loss(self, three: Tensor, chosen: Tensor) -> Tensor:
        """Cross-entropy of telling whether three observations were put into another order than the reference.

        three    [B, 3, D]  in the reference order: an observation, the one before it, the one after
        chosen   [B]        which of `ORDERS` each is put into
        """
        order = ORDERS[chosen].to(three.device)  # [B, 3]
        shuffled = three.gather(1, order[..., None].expand_as(three))
        truth = (chosen != 0).to(three)
        return F.binary_cross_entropy_with_logits(self.task_head(shuffled), truth)

    def observations(self, value: Frames, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An observation anywhere in a video, with its neighbours before and after it, uint8 [T, S, S, C] each.

        Neighbours lie a stack's length away and share no frame with it; of a video too short for that, at its ends.
        """
        spec = self.preprocess
        apart, last = spec.frames * spec.stride, max(value.count - (spec.frames - 1) * spec.stride - 1, 0)
        start = int(rng.integers(min(apart, last // 2), max(last - apart, last // 2), endpoint=True))
        windows = [self._video.window(value, min(max(start + step, 0), last)) for step in (-apart, 0, apart)]
        frames = self._video.scaled(value, [number for window in windows for number in window])
        before, now, after = (np.stack([frames[number] for number in window]) for window in windows)
        return before, now, after

    def weak(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A view that is neither cropped nor turned over."""
        return alike(clip, rng, lambda frame, draws: self._recoloured(Image.fromarray(frame), draws))

    def _strong(self, clip: np.ndarray, rng: np.random.Generator, which: int) -> np.ndarray:
        config = self.config

        def change(frame: np.ndarray, draws: np.random.Generator) -> Image.Image:
            view = views.random_resized_crop(frame, draws, size=self.preprocess.size, scale=config.crop_scale)
            view = self._recoloured(view, draws)
            probability = config.blur_probability[which]
            view = views.random_blur(view, draws, probability=probability, radius=config.blur_radius)
            probability = config.solarise_probability[which]
            view = views.random_solarise(view, draws, probability=probability, threshold=SOLARISED)
            return views.random_flip(view, draws) if config.flip else view

        return alike(clip, rng, change)

    def _recoloured(self, view: Image.Image, draws: np.random.Generator) -> Image.Image:
        config = self.config
        strengths = dict(zip(("brightness", "contrast", "saturation", "hue"), config.jitter, strict=True))
        view = views.color_jitter(view, draws, probability=config.jitter_probability, **strengths)
        return views.random_gray(view, draws, probability=config.gray_probability)


METHOD = TOVVICReg
