"""What an answer of each kind is: the one code by which evaluation, gate, server and explorer make and measure it.

A task is a file of this folder holding a class of the same name. It runs over the outputs of ONE encoder pass and may
ask for further graphs (heads) by name. numpy only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel

from enfold.errors import UnknownName
from enfold.modalities import Arrays, Spec

Graphs = Callable[[str, Arrays], Arrays]  # runs a graph of the bundle by name: {input: array} -> {output: array}
A = TypeVar("A", bound=BaseModel)  # the answer type of a task


class Task(ABC, Generic[A]):
    """How answers of one kind are made from encoder outputs, and measured against the truth.

    An instance belongs to one task entry of one bundle: it holds the `spec` stored there and the statistics that names,
    relative to `folder`.
    """

    name: ClassVar[str]
    Spec: ClassVar[type[Spec]]  # what the manifest stores
    Options: ClassVar[type[BaseModel]]  # what a request may choose
    Answer: ClassVar[type[BaseModel]]  # one per item

    def __init__(self, spec: Any, folder: Path):
        self.spec, self.folder = spec, folder

    @abstractmethod
    def run(self, graphs: Graphs, encoded: Arrays, options: Any) -> list[A]:
        """Answers of the B items whose encoder outputs are `encoded` ({"out_embedding": [B, D], …})."""

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
    found: type[Task[Any]] = getattr(import_module(f"{__name__}.{name}"), name.capitalize())
    return found
