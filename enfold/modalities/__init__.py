"""What an item of each kind is: the one code by which training, gate, batch jobs, server and explorer read it.

A modality is a file of this folder holding a class of the same name. `get("image")` finds it, `of_path("cat.png")`
finds it by suffix. numpy only: decoders are imported inside the functions that need them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from enfold.errors import BadItem, TooLarge, UnknownName

Arrays = dict[str, np.ndarray]
Value = TypeVar("Value")  # what an item is once decoded: uint8 [H, W, 3], str, …


class Spec(BaseModel):
    """A frozen record that refuses unknown keys; the base of everything written into a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(Spec):
    """Which piece of an item a vector stands for; items that fit whole have none."""

    index: int
    start: int | None = None  # in the item's own unit: characters of a text, samples of a sound, slices of a volume
    end: int | None = None
    box: tuple[int, int, int, int] | None = None  # of an image: left, top, right, bottom in pixels


@dataclass(frozen=True, slots=True)
class Sample:
    """One encoder input, not yet in a batch."""

    arrays: Arrays
    part: Part | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)  # what a task needs to map its answer back onto the item


class Modality(ABC, Generic[Value]):
    """How items of one kind are read, prepared, batched, counted and drawn.

    An instance belongs to one entry of one bundle: it holds the `preprocess` stored there and whatever resources
    (a tokenizer) that names, relative to `folder`.
    """

    name: ClassVar[str]
    media_types: ClassVar[dict[str, str]]  # suffix (".nii.gz") -> media type
    Preprocess: ClassVar[type[Spec]]
    Limits: ClassVar[type[Spec]]
    Json: ClassVar[type[BaseModel]]  # the item as it stands in a JSON request; one field, named as the modality
    ragged: ClassVar[bool] = False  # samples differ in length, along the first axis of their arrays
    batch_cost: ClassVar[int] = 32  # of a batch, padding included: more leaves a processor's caches and gets slower
    light_bytes: ClassVar[int] = 0  # up to here, handing an item to a thread takes longer than preparing it

    def __init__(self, preprocess: Any, limits: Any = None, folder: Path | None = None):
        self.preprocess: Any = preprocess
        self.limits: Any = limits or self.Limits()
        self.folder = folder

    @property
    @abstractmethod
    def input_size(self) -> int:
        """What an encoder must know of its inputs: pixels or voxels a side, words of the vocabulary."""

    @abstractmethod
    def read(self, item: Any) -> Value:
        """Decode bytes, a path or a Python value within the limits. Raises BadItem or TooLarge."""

    @abstractmethod
    def from_json(self, item: Any) -> bytes:
        """The file bytes that a `Json` item stands for. Raises BadItem."""

    @abstractmethod
    def prepare(self, value: Value, *, parts: bool = False) -> list[Sample]:
        """Encoder inputs of one item: one, or with `parts` one per piece of an item larger than the encoder takes."""

    @abstractmethod
    def thumbnail(self, value: Value, side: int = 96) -> bytes:
        """A picture a person recognises the item by: WebP, at most side x side pixels."""

    def collate(self, samples: Sequence[Sample]) -> Arrays:
        """Stack samples into a batch [B, …]; modalities with a ragged axis pad here."""
        return {name: np.stack([sample.arrays[name] for sample in samples]) for name in samples[0].arrays}

    def prepared(self, arrays: Arrays) -> list[Sample]:
        """Samples of N encoder inputs [N, …] of the right shapes that somebody else prepared. Raises BadItem."""
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise BadItem(f"input '{name}' holds a number that is not finite")
        count = len(next(iter(arrays.values())))
        return [Sample({name: values[row] for name, values in arrays.items()}) for row in range(count)]

    def cost(self, sample: Sample) -> int:
        """Work of one sample in the modality's own unit; grows with the ragged axis."""
        return 1

    def file_bytes(self, path: str | Path) -> bytes:
        """A file's content, its size checked before it is read. Raises TooLarge, or OSError as the file system does."""
        size, most = Path(path).stat().st_size, self.limits.max_bytes
        if size > most:
            raise TooLarge(f"{path} has {size:,} bytes; {self.name} items may have {most:,}")
        return Path(path).read_bytes()


@cache
def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))


@cache
def get(name: str) -> type[Modality[Any]]:
    """The modality called `name`. Raises UnknownName with the list."""
    if name not in names():
        raise UnknownName.among("modality", name, names())
    found: type[Modality[Any]] = getattr(import_module(f"{__name__}.{name}"), name.capitalize())
    return found


def of_path(path: str | Path) -> str | None:
    """The modality whose files carry this suffix, or None."""
    file = Path(path).name.lower()
    return next((name for name in names() if file.endswith(tuple(get(name).media_types))), None)


def of_media_type(media_type: str) -> str | None:
    """The modality whose files are of this media type ("image/png"), or None."""
    return next((name for name in names() if media_type in get(name).media_types.values()), None)
