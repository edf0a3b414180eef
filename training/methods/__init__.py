"""Methods: a published way to pretrain an encoder, as a module around it. Batch in, losses out.

A method is a file of this folder holding a `Config` and a `METHOD`; its recipe has the same name. The loop, devices,
logging and data loading are not its business.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel
from torch import Tensor, nn

from enfold.errors import UnknownName, WrongUse
from enfold.modalities import Arrays, Modality
from training import recipe
from training.encoders import Encoder
from training.heads import Head
from training.recipe import validated

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]  # "loss" is minimised, the rest is logged


@dataclass(frozen=True, slots=True)
class Item:
    """One decoded item of a training split."""

    value: Any  # as its modality decodes it: uint8 [H, W, 3], str, …
    label: int  # -1 without one
    index: int
    sides: Mapping[str, Any] = field(default_factory=dict)  # what the recipe names beside it, decoded
    modality: str = ""  # where the recipe mixes several
    payload: Mapping[str, str | int | float] = field(default_factory=dict)  # what its source says of it

    def side(self, name: str) -> Any:
        """What stands beside it in column `name`. Raises WrongUse where nothing does."""
        if name not in self.sides:
            raise WrongUse(f"item {self.index} has nothing in column '{name}', which the method trains on: fill it")
        return self.sides[name]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a task must know beyond its head's own spec, chosen on items that were not trained on."""

    spec: Mapping[str, float | str] = field(default_factory=dict)
    resources: Mapping[str, bytes] = field(default_factory=dict)  # name -> content of files that the task reads


@dataclass(frozen=True, slots=True)
class Turn:
    """Where one loss is not enough: weights that move by one of them, and how.

    The steps of a training go round a method's turns in order, each step with a batch of its own.
    """

    name: str
    parts: tuple[str, ...]  # beginnings of the names of its weights
    steps: int = 1  # in a row
    lr_factor: float = 1.0  # of train.lr
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam


class Method(nn.Module):
    """Owns the encoder and whatever the paper puts around it; only the encoder and the task's head are exported."""

    Config: ClassVar[type[BaseModel]]
    task_head: Head  # what answers a task, where the paper trains it
    takes_sides: ClassVar[bool] = False  # columns beside the item, which its recipe must name then, and else may not
    mixes: ClassVar[tuple[str, ...]] = ()  # modalities that one encoder learns from, where they are several
    takes_reader: ClassVar[bool] = False  # what reads its items, where preprocessing has more than settings
    fresh: ClassVar[tuple[str, ...]] = ()  # beginnings of the names of what a training that goes on starts anew
    turn: str = ""  # whose step it is, where the method has turns

    def __init__(self, encoder: Encoder, config: Any, preprocess: Any):
        super().__init__()
        self.encoder, self.config, self.preprocess = encoder, config, preprocess

    @classmethod
    def build(
        cls,
        encoder: Encoder,
        config: dict[str, Any],
        preprocess: Any,
        sides: Mapping[str, Modality[Any]] | None = None,
        mixed: Mapping[str, Modality[Any]] | None = None,
        reader: Modality[Any] | None = None,
    ) -> Self:
        """The method around `encoder`, from a recipe's table. Raises WrongUse naming the key.

        sides   what reads the columns beside the item: the last argument of a method that takes them
        mixed   what reads the items of further modalities: the last argument of a method that mixes some
        reader  what reads its own items: the last argument of a method that takes it
        """
        facts = validated(cls.Config, config, f"method {cls.__name__}")
        given: list[Any] = [*([sides or {}] if cls.takes_sides else []), *([mixed or {}] if cls.mixes else [])]
        given += [reader] * cls.takes_reader
        return cls(encoder, facts, preprocess, *given)

    def towers(self) -> dict[str, tuple[recipe.Encoder, Encoder]]:  # most methods train one encoder
        """Encoders that share the exported one's space, by the side they read, each with what it was built from."""
        return {}

    def carry(self, state: dict[str, Tensor]) -> None:
        """Go on from the state of an earlier training; what it has beyond this method's own is left behind."""
        wanted = {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(self.fresh)}
        for name, tensor in wanted.items():
            if name not in state or state[name].shape != tensor.shape:
                raise WrongUse(f"the needed training has no '{name}' of shape {list(tensor.shape)} to go on from")
        self.load_state_dict({name: state[name] for name in wanted}, strict=False)

    @abstractmethod
    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """Views and corruptions of ONE item, stacked into a batch by the loop. All chance comes from `rng`."""

    @abstractmethod
    def forward(self, batch: Batch) -> Losses:
        """Losses of a batch; what mixes items happens here, and chance comes from torch, seeded by the loop."""

    def calibrated(self, held_out: Sequence[Item]) -> Calibration:  # most heads have nothing left to choose
        return Calibration()

    def turns(self) -> tuple[Turn, ...]:  # most methods have one loss and one optimiser for all their weights
        """Whose steps a training goes round; none where every step is everybody's."""
        return ()

    def take(self, turn: Turn) -> None:
        """The next step is that turn's: only its weights take gradients, and `forward` gives its loss."""
        self.turn = turn.name
        for name, weight in self.named_parameters():
            weight.requires_grad_(name.startswith(turn.parts))

    def sampler(
        self, items: Sequence[Item], batch: int, seed: int, start: int
    ) -> Iterable[list[tuple[int, int]]] | None:
        """Endless batches of (epoch, index) from step `start` on, where it matters to the method what meets in one."""
        return None

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
