"""What an answer of each kind is: the one code by which evaluation, gate, server and explorer make and measure it.

A task is a file of this folder holding a class of the same name. It starts from the outputs of ONE encoder pass and
asks for heads by name, or it runs graphs of its own on an item's inputs, as often as it likes. numpy only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel

from enfold.bundle import Entry, Manifest
from enfold.errors import UnknownName, WrongUse
from enfold.modalities import Arrays, Sample, Spec

Graphs = Callable[[str, Arrays], Arrays]  # runs a graph of the bundle by name: {input: array} -> {output: array}
A = TypeVar("A", bound=BaseModel)  # the answer type of a task


@dataclass(frozen=True)
class Prepared:
    """What a task is given of B items."""

    samples: list[list[Sample]]  # of each item: one, or all its parts in their order
    encoded: Arrays  # encoder outputs of all samples, one after the other; {} for a task with graphs of its own
    beside: Arrays = field(default_factory=dict)  # encoder outputs of what the options hold (`Task.beside`)


class Task(ABC, Generic[A]):
    """How answers of one kind are made from encoder outputs, and measured against the truth.

    An instance belongs to one task entry of one bundle: it holds the `spec` stored there and the statistics that names,
    relative to `folder`.
    """

    name: ClassVar[str]
    Spec: ClassVar[type[Spec]]  # what the manifest stores
    Options: ClassVar[type[BaseModel]]  # what a request may choose
    Answer: ClassVar[type[BaseModel]]  # one per item
    encodes: bool = True  # it starts from the encoder's outputs
    modality: ClassVar[str | None] = None  # of items that it answers; None: of any that the encoder takes
    trial: ClassVar[dict[str, Any]] = {}  # options that a request must choose, as the gate tries them
    entry: str | None = None  # of the bundle: in whose space items must lie, and by which `beside` is encoded

    def __init__(self, spec: Any, folder: Path, size: str | None = None):
        """size   of the bundle's, where it has several"""
        self.spec, self.folder, self.size = spec, folder, size

    @classmethod
    def implied(cls, entries: Mapping[str, Entry]) -> dict[str, Any] | None:
        """Its spec in every bundle of such entries, where they are all it needs; None where it must be stored."""
        return None

    def beside(self, options: Any) -> list[Any]:
        """Raw items that the options hold and that `entry` shall encode: sentences to compare an item with."""
        return []

    def parts(self, options: Any) -> bool:
        """Whether it wants every part of an item that is larger than the encoder takes, and not one sample."""
        return False

    @abstractmethod
    def run(self, graphs: Graphs, prepared: Prepared, options: Any) -> list[A]:
        """Answers of the B items."""

    def stream(self, graphs: Graphs, prepared: Prepared, options: Any) -> Iterator[BaseModel]:
        """The answer of one item piece by piece, the whole one last; a reader that stops reading stops the work."""
        raise WrongUse(f"task '{self.name}' gives its answer at once: ask without 'stream'")

    @abstractmethod
    def measure(self, answers: Sequence[A], truth: Sequence[Any]) -> dict[str, float]:
        """Quality of the answers; each figure's name says what it is."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of [B, C] to probabilities, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


@cache
def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))


@cache
def get(name: str) -> type[Task[Any]]:
    """The task called `name`. Raises UnknownName with the list."""
    if name not in names():
        raise UnknownName.among("task", name, names())
    found: type[Task[Any]] = getattr(import_module(f"{__name__}.{name}"), name.title().replace("_", ""))
    return found


def of(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """The specs of a bundle's tasks: of those that it stores, then of those that its entries are enough for."""
    implied = {name: get(name).implied(manifest.entries) for name in names() if name not in manifest.tasks}
    return manifest.tasks | {name: spec for name, spec in implied.items() if spec is not None}
