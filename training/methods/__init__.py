"""Methods: a published way to pretrain an encoder, as a module around it. Batch in, losses out.

A method is a file of this folder holding a `Config` and a `METHOD`; its recipe has the same name. The loop, devices,
logging and data loading are not its business.
"""

from abc import abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel
from torch import Tensor, nn

from enfold.errors import UnknownName
from enfold.modalities import Arrays
from training.encoders import Encoder
from training.recipe import validated

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]  # "loss" is minimised, the rest is logged


@dataclass(frozen=True, slots=True)
class Item:
    """One decoded item of a training split."""

    value: Any  # as its modality decodes it: uint8 [H, W, 3], str, …
    label: int  # -1 without one
    index: int


class Method(nn.Module):
    """Owns the encoder and whatever heads the paper puts around it; only the encoder is exported."""

    Config: ClassVar[type[BaseModel]]

    def __init__(self, encoder: Encoder, config: Any, preprocess: Any):
        super().__init__()
        self.encoder, self.config, self.preprocess = encoder, config, preprocess

    @classmethod
    def build(cls, encoder: Encoder, config: dict[str, Any], preprocess: Any) -> Self:
        """The method around `encoder`, from a recipe's table. Raises WrongUse naming the key."""
        return cls(encoder, validated(cls.Config, config, f"method {cls.__name__}"), preprocess)

    @abstractmethod
    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """Views and corruptions of ONE item, stacked into a batch by the loop. All chance comes from `rng`."""

    @abstractmethod
    def forward(self, batch: Batch) -> Losses:
        """Losses of a batch; what mixes items happens here, and chance comes from torch, seeded by the loop."""

    def after_step(self, progress: float) -> None:  # most methods keep nothing between steps
        """Update what is no gradient's business (averages, queues, schedules); `progress` runs from 0 to 1."""


def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))


def get(slug: str) -> type[Method]:
    """The method called `slug`. Raises UnknownName with the list."""
    if slug not in names():
        raise UnknownName.among("method", slug, names())
    method: type[Method] = import_module(f"{__name__}.{slug}").METHOD
    return method
