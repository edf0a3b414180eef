"""SimCLRv2: two views of an image find each other through a deeper projection head, part of which is kept later.

Chen et al., "Big Self-Supervised Models are Strong Semi-Supervised Learners", NeurIPS 2020, arXiv:2006.10029.
The other two of its three steps are adaptations: `fine_tune` with `keep_head_layers = 1`, and `distil`.
"""
# B items, H W height and width

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import nn

from enfold.modalities import Arrays
from training.blocks.nt_xent import nt_xent
from training.blocks.projection_head import projection_head
from training.encoders import Encoder
from training.methods import Batch, Item, Losses, Method
from training.views import image as views


class SimCLRv2Config(BaseModel, frozen=True, extra="forbid"):
    temperature: float = Field(0.1, gt=0)
    projection: int = Field(128, ge=1)  # width of what is compared
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True  # not where mirror images are other things, as letters are
    color_strength: float = Field(1.0, ge=0)
    jitter_probability: float = 0.8
    gray_probability: float = 0.2
    blur_probability: float = 0.5


class SimCLRv2(Method):
    Config = SimCLRv2Config
    config: SimCLRv2Config

    def __init__(self, encoder: Encoder, config: SimCLRv2Config, preprocess: views.ImagePreprocess):
        super().__init__(encoder, config, preprocess)
        self.projection: nn.Sequential = projection_head([encoder.dim, encoder.dim, encoder.dim, config.projection])

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """first, second [3, H, W]: two views."""
        return {name: self._view(item.value, rng) for name in ("first", "second")}

    def forward(self, batch: Batch) -> Losses:
        both = torch.cat([batch["first"], batch["second"]])  # [2B, 3, H, W], so that batch norm sees all views at once
        first, second = self.projection(self.encoder({"image": both}).embedding).chunk(2)
        return {"loss": nt_xent(first, second, temperature=self.config.temperature)}

    def _view(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        config, strength = self.config, self.config.color_strength
        view = views.random_resized_crop(image, rng, size=self.preprocess.size, scale=config.crop_scale)
        view = views.random_flip(view, rng) if config.flip else view
        view = views.color_jitter(
            view,
            rng,
            probability=config.jitter_probability,
            brightness=min(1.0, 0.8 * strength),
            contrast=min(1.0, 0.8 * strength),
            saturation=min(1.0, 0.8 * strength),
            hue=min(0.5, 0.2 * strength),
        )
        view = views.random_gray(view, rng, probability=config.gray_probability)
        # The paper's kernel is a tenth of the side: two pixels of standard deviation at 224 are much less here.
        view = views.random_blur(
            view, rng, probability=config.blur_probability, radius=(0.1 * view.width / 224, 2.0 * view.width / 224)
        )
        return views.to_array(view, self.preprocess)


METHOD = SimCLRv2
