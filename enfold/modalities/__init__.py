"""What an item of each kind is: the one code by which training, gate, batch jobs, server and explorer read it.

A modality is a file of this folder holding a class of the same name. `get("image")` finds it, `of_path("cat.png")`
finds it by suffix. numpy only: decoders are imported inside the functions that need them.
"""

import base64
import io
import json
import re
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from enfold.archives import Packed
from enfold.errors import BadItem, TooLarge, UnknownName

Arrays = dict[str, np.ndarray]
Stored = bytes | str | Path | Packed  # a file: its content, or where it lies
Value = TypeVar("Value")  # what an item is once decoded: uint8 [H, W, 3], str, …


class Spec(BaseModel):
    """A frozen record that refuses unknown keys; the base of everything written into a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(Spec):
    """Which piece of an item a vector stands for; items that fit whole have none."""

    index: int
    # In the item's own unit: characters of a text, samples of a sound, slices of a volume, frames of a video as stored,
    # steps of a series, residues of a protein, atoms of a molecule as its pieces have them, columns of a row, of those
    # that training knows first.
    start: int | None = None
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
    media_types: ClassVar[dict[str, str]]  # suffix (".nii.gz") -> media type, of files that are of this kind by default
    shared_types: ClassVar[dict[str, str]] = {}  # … of another kind by default, of this one where that is known
    members: ClassVar[tuple[str, ...]] = ()  # suffixes of files that in a folder of their own make up one item
    Preprocess: ClassVar[type[Spec]]
    Limits: ClassVar[type[Spec]]
    Json: ClassVar[type[BaseModel]]  # the item as it stands in a JSON request; one field, named as the modality
    inline: ClassVar[bool] = False  # an item may stand in a manifest's column that is named as the modality
    rows: ClassVar[bool] = False  # … or be a row of a manifest, all its columns together
    written: ClassVar[bool] = False  # in JSON a string is the item itself, and not its file in base64
    ragged: bool = False  # samples differ in length, along the first axis of their arrays
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
    def prepare(self, value: Value, *, parts: bool = False) -> list[Sample]:
        """Encoder inputs of one item: one, or with `parts` one per piece of an item larger than the encoder takes."""

    @classmethod
    def records(cls, file: Path) -> Sequence[Packed]:
        """The items of a file that holds several one after the other; none where a file is one item."""
        return ()

    def mark(self, value: Value) -> np.ndarray | str | None:
        """By what copies of an item are known: a look, uint8 [8, 8, 3], a digest, or nothing but its file's bytes."""
        return None

    @abstractmethod
    def thumbnail(self, value: Value, side: int = 96) -> bytes:
        """A picture a person recognises the item by: WebP, at most side x side pixels."""

    def texts(self, value: Value) -> Iterable[str]:
        """What of an item a tokenizer is trained on."""
        return ()

    def learnt(self, values: Iterable[Value]) -> dict[str, bytes]:
        """What preprocessing must know of the items that are trained on: content of the files that it names."""
        return {}

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

    def words(self, value: Value, part: Part | None = None) -> str | None:
        """What a search by words finds an item or a part of it by, where it has any: kept with its vector as `text`."""
        return None

    def cost(self, sample: Sample) -> int:
        """Work of one sample in the modality's own unit; grows with the ragged axis."""
        return 1

    def from_json(self, item: Any) -> bytes:
        """The file bytes that a `Json` item stands for: in base64, under the modality's name. Raises BadItem."""
        try:
            return base64.b64decode(getattr(item, self.name), validate=True)
        except ValueError:  # binascii's, or a letter beyond ASCII
            raise BadItem(
                f"field '{self.name}' is not base64: send the file's bytes encoded, without a data: prefix"
            ) from None

    def place(self, item: Stored) -> bytes | Path | Packed:
        """Where a file's content lies, its size checked. Raises TooLarge, or OSError as the file system does."""
        place = Path(item) if isinstance(item, str) else item
        if isinstance(place, bytes):
            size = len(place)
        else:
            size = place.size if isinstance(place, Packed) else place.stat().st_size
        if size > self.limits.max_bytes:
            raise TooLarge(f"the {self.name} has {size:,} bytes; at most {self.limits.max_bytes:,} are read")
        return place

    def file_bytes(self, item: Stored) -> bytes:
        """A file's content, its size checked before it is read. Raises as `place` does."""
        place = self.place(item)
        return place if isinstance(place, bytes) else place.read_bytes()


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


def suffixes(name: str) -> tuple[str, ...]:
    """Of the files that items of a modality may be."""
    return (*get(name).media_types, *get(name).shared_types)


def takers(path: str | Path) -> list[str]:
    """All modalities whose files may carry this suffix."""
    return [name for name in names() if Path(path).name.lower().endswith(suffixes(name))]


def inline_names() -> list[str]:
    """Whose items may stand in a manifest's column of their name; those that a whole row may be come last."""
    return sorted((name for name in names() if get(name).inline), key=lambda name: get(name).rows)


def of_rows(asked: str | None) -> str | None:
    """The modality whose items rows of a manifest are: the one asked for, or the first that has any; None if none."""
    return next((name for name in ([asked] if asked else names()) if get(name).rows), None)


def of_path(path: str | Path, among: Collection[str] = ()) -> str | None:
    """The modality whose files carry this suffix, or None; only one of `among`, if there are any."""
    file = Path(path).name.lower()
    own = next((name for name in names() if file.endswith(tuple(get(name).media_types))), None)
    if not among or own in among:
        return own
    return next((name for name in among if file.endswith(suffixes(name))), None)


def of_media_type(media_type: str, among: Collection[str] = ()) -> str | None:
    """The modality whose files are of this media type ("image/png"), or None; only one of `among`, if there are any."""
    own = next((name for name in names() if media_type in get(name).media_types.values()), None)
    if not among or own in among:
        return own
    return next((name for name in among if media_type in get(name).shared_types.values()), None)


# --- items of many files --------------------------------------------------------------------------------------------


_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError)  # of a .zip


def members(
    item: bytes | Path, suffixes: tuple[str, ...], *, max_bytes: int, max_files: int
) -> dict[str, Callable[[], bytes]]:
    """The files that make up one item, name -> what reads it, in the order people count (2 before 10).

    item      a folder, or the bytes or the path of a .zip of one
    suffixes  of the files that count, lower case; others are passed over

    Sizes are summed up before anything is unpacked. Raises BadItem or TooLarge.
    """
    found = _in_folder(item, suffixes) if isinstance(item, Path) and item.is_dir() else _in_zip(item, suffixes)
    if not found:
        raise BadItem(f"there are no {', '.join(suffixes)} files in it")
    if len(found) > max_files:
        raise TooLarge(f"the item has {len(found):,} files; it may have {max_files:,}")
    size = sum(size for size, _ in found.values())
    if size > max_bytes:
        raise TooLarge(f"the files of the item have {size:,} bytes; they may have {max_bytes:,} in all")
    return {name: found[name][1] for name in sorted(found, key=_counted)}


def zipped(folder: Path, suffixes: tuple[str, ...]) -> bytes:
    """A folder's files as one, to be sent: a .zip, stored without compression."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, (_, read) in _in_folder(folder, suffixes).items():
            archive.writestr(name, read())
    return file.getvalue()


def _in_folder(folder: Path, suffixes: tuple[str, ...]) -> dict[str, tuple[int, Callable[[], bytes]]]:
    files = [
        path for path in folder.iterdir() if path.name.lower().endswith(suffixes) and not path.name.startswith(".")
    ]
    return {path.name: (path.stat().st_size, path.read_bytes) for path in files}


def _in_zip(item: bytes | Path, suffixes: tuple[str, ...]) -> dict[str, tuple[int, Callable[[], bytes]]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(item) if isinstance(item, bytes) else item)
    except _DAMAGED as error:
        raise BadItem(f"the .zip is damaged or cut short ({error})") from None

    def read(file: zipfile.ZipInfo) -> bytes:
        try:
            return archive.read(file)
        except _DAMAGED as error:
            raise BadItem(f"'{file.filename}' in the .zip cannot be unpacked ({error})") from None

    files = [file for file in archive.infolist() if file.filename.lower().endswith(suffixes)]
    shown = [file for file in files if not re.search(r"(^|/)[._]", file.filename)]  # such as __MACOSX/
    return {file.filename: (file.file_size, partial(read, file)) for file in shown}


def _counted(name: str) -> list[tuple[int, str]]:
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"([0-9]+)", name)]


def written_bytes(item: Any, kind: str) -> bytes:
    """Of an item that stands in JSON as it is written: its text, or its object as JSON again. Raises BadItem."""
    if not isinstance(item, str | dict):
        raise BadItem(f"a {kind} in a request is a text or an object, not {type(item).__name__}")
    told = item if isinstance(item, str) else json.dumps(item)
    try:
        return told.encode("utf-8", "surrogateescape")  # bytes of a form's file come so
    except UnicodeEncodeError as error:
        raise BadItem(f"the {kind} holds a lone surrogate at character {error.start}: it is no Unicode") from None
