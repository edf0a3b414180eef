"""SoftCon: a scene's view finds its other view, and any two scenes are as alike as the land cover they share says.

Wang, Albrecht and Zhu, "Multi-Label Guided Soft Contrastive Learning for Efficient Earth Observation Pretraining", IEEE
TGRS 2024, arXiv:2405.20462; the contrastive part is of Chen, Xie and He 2021 (MoCo v3), arXiv:2104.02057.
Our reading where the paper is silent: the soft term is a cross-entropy between the labels' cosine and a sigmoid of the
projections', over all pairs of labelled scenes, a scene with itself among them; lambda 0.1, beside a contrast that is 2
tau times its cross-entropy, as MoCo v3 has it; temperatures 0.2; the share of hidden patches is drawn evenly up to a
half; bands that the RGB encoder did not know start from its mean kernel.
"""
# B items, C bands, H W height and width, K classes, P features of a projection

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from enfold.modalities.multispectral import Multispectral, MultispectralPreprocess, Raster
from training.blocks.ema_teacher import EMATeacher
from training.blocks.info_nce import info_nce
from training.blocks.projection_head import projection_head
from training.blocks.soft_pair_bce import soft_pair_bce
from training.blocks.stem import COLOURS, stem_for
from training.encoders import Encoder
from training.methods import Batch, Item, Losses, Method
from training.views import multispectral as views

Share = Annotated[float, Field(ge=0, le=1)]


class SoftConConfig(BaseModel, frozen=True, extra="forbid"):
    classes: tuple[str, ...] = ()  # of the side `cover`; none where it is not used
    soft_weight: float = Field(0.1, ge=0)  # lambda; 0 is MoCo v3
    temperature: float = Field(0.2, gt=0)
    soft_temperature: float = Field(0.2, gt=0)
    hidden: int = Field(4096, ge=1)  # width of the heads' inner layers
    projection: int = Field(256, ge=1)  # width of what is compared
    momentum: tuple[Share, Share] = (0.99, 1.0)  # of the average, at the start and at the end
    mask_ratio: tuple[Share, Share] = (0.0, 0.5)  # of the patches of a query; (0, 0) hides none
    mask_patch: int = Field(16, ge=1)  # pixels
    crop_scale: tuple[float, float] = (0.2, 1.0)
    light: float = Field(0.4, ge=0, le=1)
    light_probability: Share = 0.8
    mix_probability: Share = 0.2
    blur_probability: Share = 0.5


class SoftCon(Method):
    """Sides: `other`, a second picture of the scene, and `cover`, the names of its classes; a scene may lack either."""

    Config = SoftConConfig
    config: SoftConConfig
    takes_sides = True
    fresh = ("projection.", "prediction.", "average")  # of an encoder of other scenes the encoder alone is kept

    def __init__(
        self,
        encoder: Encoder,
        config: SoftConConfig,
        preprocess: MultispectralPreprocess,
        sides: Mapping[str, Modality[Any]],
    ):
        super().__init__(encoder, config, preprocess)
        if not isinstance(preprocess, MultispectralPreprocess):
            raise WrongUse("method 'softcon' takes views of rasters: it needs modality 'multispectral'")
        if preprocess.size % config.mask_patch:
            raise WrongUse(
                f"softcon: mask_patch {config.mask_patch} does not divide the encoder's {preprocess.size} pixels"
            )
        self._bands, self._reader = [band.name for band in preprocess.bands], Multispectral(preprocess)
        if (seen := _stem(encoder)[1].shape[1]) != len(self._bands):
            raise WrongUse(
                f"the encoder takes {seen} channels, preprocess names {len(self._bands)} bands: give it those"
            )
        self.projection = projection_head([encoder.dim, config.hidden, config.hidden, config.projection])
        self.prediction = projection_head([config.projection, config.hidden, config.projection])
        self.average_encoder, self.average_projection = deepcopy(encoder), deepcopy(self.projection)
        self._follow()

    def carry(self, state: dict[str, Tensor]) -> None:
        """Go on from an encoder of the same bands, or from one of red, green and blue, whose first layer is remade."""
        name, own = _stem(self.encoder)
        name = f"encoder.{name}"
        if name in state and state[name].shape[1] == len(COLOURS) != own.shape[1]:
            state = state | {name: stem_for(state[name], self._bands)}
        super().carry(state)
        self._follow()

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """views float32 [2, C, H, W]; hidden bool [2, H, W], True = hidden from the query; labels float32 [K]."""
        pictures = (item.value, item.sides.get("other", item.value))
        return {
            "views": np.stack([self._view(picture, rng) for picture in pictures]),
            "hidden": np.stack([self._hidden(rng) for _ in pictures]),
            "labels": self._labels(item),
        }

    def forward(self, batch: Batch) -> Losses:
        first, second = batch["views"].unbind(1)  # [B, C, H, W] each
        both = torch.cat([first, second])
        masked = both * ~torch.cat(batch["hidden"].unbind(1))[:, None]
        queries = self.prediction(self.projection(self.encoder({"image": masked}).embedding)).chunk(2)
        with torch.no_grad():
            keys = self.average_projection(self.average_encoder({"image": both}).embedding).chunk(2)
        tau, pairs = self.config.temperature, list(zip(queries, reversed(keys), strict=True))
        contrast = 2 * tau * torch.stack([info_nce(query, key, temperature=tau) for query, key in pairs]).sum()
        if not self.config.soft_weight:
            return {"loss": contrast}
        labels, sharp = batch["labels"], self.config.soft_temperature
        soft = torch.stack([soft_pair_bce(query, key, labels, temperature=sharp) for query, key in pairs]).mean()
        return {"loss": contrast + self.config.soft_weight * soft, "contrast": contrast, "soft": soft}

    def after_step(self, progress: float) -> None:
        self.teacher.update(progress)

    def _follow(self) -> None:
        """Start the averages as what they are averages of."""
        pairs: list[tuple[nn.Module, nn.Module]] = [
            (self.average_encoder, self.encoder),
            (self.average_projection, self.projection),
        ]
        self.teacher = EMATeacher(pairs, self.config.momentum)

    def _view(self, picture: Raster, rng: np.random.Generator) -> np.ndarray:
        config, size = self.config, self.preprocess.size
        view = views.random_resized_crop(self._reader.scaled(picture), rng, size=size, scale=config.crop_scale)
        view = views.random_flips(view, rng)
        view = views.random_light(view, rng, probability=config.light_probability, strength=config.light)
        view = views.random_band_mix(view, rng, probability=config.mix_probability)
        # The published radii are for views of 224 pixels.
        radius = (0.1 * size / 224, 2.0 * size / 224)
        view = views.random_blur(view, rng, probability=config.blur_probability, radius=radius)
        return np.ascontiguousarray(view, np.float32)

    def _hidden(self, rng: np.random.Generator) -> np.ndarray:
        """Single patches, bool [H, W]."""
        patch, side = self.config.mask_patch, self.preprocess.size // self.config.mask_patch
        hidden = np.zeros(side * side, bool)
        hidden[rng.permutation(side * side)[: round(rng.uniform(*self.config.mask_ratio) * side * side)]] = True
        return hidden.reshape(side, side).repeat(patch, 0).repeat(patch, 1)

    def _labels(self, item: Item) -> np.ndarray:
        names = item.sides.get("cover", "").split()
        unknown = set(names) - set(self.config.classes)
        if unknown and self.config.classes:
            known = ", ".join(self.config.classes)
            raise WrongUse(
                f"item {item.index} has class '{unknown.pop()}' in column 'cover'; config.classes are {known}"
            )
        return np.array([name in names for name in self.config.classes], np.float32)


def _stem(encoder: nn.Module) -> tuple[str, Tensor]:
    """Name and kernels [D, C, k, k] of the encoder's first convolution."""
    return next((name, weight) for name, weight in encoder.named_parameters() if weight.ndim == 4)


METHOD = SoftCon
