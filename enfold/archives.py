"""Items inside larger files: WebDataset shards (.tar), Parquet files with a column of bytes, records of FASTA and SDF.

Nothing is unpacked. An item is the place where its bytes lie, and they are read when it is needed: a source may be
larger than the memory and the rest of the disk.
"""

import json
import re
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from enfold.errors import WrongUse, require

_SPLIT = re.compile(r"(train|val|test)(?:id|idation)?(?![a-z])", re.IGNORECASE)  # how a shard's name may begin
_NOTE_BYTES = 2**16  # of a label, caption or JSON beside an item
_GROUPS = 4  # row groups of Parquet in memory


class Packed(ABC):
    """A file inside a file."""

    name: str

    @property
    @abstractmethod
    def size(self) -> int:
        """In bytes."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The content. Raises OSError."""

    @abstractmethod
    def state(self) -> str:
        """Changes when the content may have."""


@dataclass(frozen=True, slots=True)
class Slice(Packed):
    """A stretch of a file: a member of an uncompressed .tar, a record."""

    file: Path
    name: str
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        with self.file.open("rb") as content:
            content.seek(self.offset)
            data = content.read(self.size)
        if len(data) < self.size:
            raise OSError(f"{self.file} ends within '{self.name}'")
        return data

    def state(self) -> str:
        return f"{self.file.stat().st_mtime_ns} {self.offset} {self.size}"


@dataclass(frozen=True, slots=True)
class Cell(Packed):
    """A value of a column of bytes of a Parquet file."""

    file: Path
    name: str
    column: str
    group: int  # row group
    row: int  # in its group

    @property
    def size(self) -> int:
        return len(self.read_bytes())

    def read_bytes(self) -> bytes:
        value = _column(self.file, self.file.stat().st_mtime_ns, self.column, self.group)[self.row].as_py()
        content: bytes | None = value["bytes"] if isinstance(value, dict) else value
        if content is None:
            raise OSError(f"{self.file}, '{self.name}': column '{self.column}' is empty")
        return content

    def state(self) -> str:
        return f"{self.file.stat().st_mtime_ns} {self.group} {self.row}"


@dataclass(frozen=True, slots=True)
class Entry:
    """An item of an archive: its key among all, where it lies, and what stands beside it (split, label, caption …)."""

    key: str
    place: Packed
    fields: dict[str, Any] = field(default_factory=dict)


def shards(source: Path) -> list[Path]:
    """The .tar files of a WebDataset: the source itself, or those that lie in its folder."""
    if source.is_dir():
        return sorted(path for path in source.iterdir() if path.name.lower().endswith(".tar"))
    return [source] if source.name.lower().endswith(".tar") else []


def of_shards(files: Sequence[Path], suffixes: tuple[str, ...]) -> Iterator[Entry]:
    """Samples of a WebDataset, in order: the member with one of the suffixes is the item, the others tell of it.

    A sample's members lie side by side under one key: `key.png`, and `key.cls` for its label, `key.txt` for a caption,
    `key.json` for both under those names. Raises WrongUse for what is no uncompressed .tar.
    """
    for file in files:
        beside = {} if (split := split_of(file)) is None else {"split": split}
        try:
            with tarfile.open(file, "r:") as archive:
                for key, members in _samples(archive):
                    item = next((one for end, one in members.items() if f".{end}".endswith(suffixes)), None)
                    if item is not None:
                        notes = {end: one for end, one in members.items() if one is not item}
                        place = Slice(file, item.name, item.offset_data, item.size)
                        yield Entry(f"{file.name}/{key}", place, {**beside, **_notes(archive, notes)})
        except tarfile.TarError as error:
            raise WrongUse(f"{file} is no uncompressed .tar, or is damaged: {error}") from None


def of_parquet(file: Path, column: str) -> Iterator[Cell]:
    """Where each row's item lies, in order."""
    parquet = require("pyarrow.parquet", "batch", "reading a Parquet file").ParquetFile(file)
    number = 0
    for group in range(parquet.num_row_groups):
        for row in range(parquet.metadata.row_group(group).num_rows):
            number += 1
            yield Cell(file, f"{number:06d}", column, group, row)


def files_columns(schema: Any) -> list[str]:
    """The columns of an Arrow schema that hold files: bytes, or {bytes, path} as Hugging Face writes them."""
    types = require("pyarrow", "batch", "reading a Parquet file").types

    def holds_files(kind: Any) -> bool:
        inner = kind.field("bytes").type if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
        return bool(types.is_binary(inner) or types.is_large_binary(inner))

    return [column.name for column in schema if holds_files(column.type)]


def split_of(shard: Path) -> str | None:
    """Train, val or test, by how a shard's name begins; None if it says nothing."""
    found = _SPLIT.match(shard.name)
    return found[1].lower() if found else None


def _samples(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Neighbours of one key: {what follows its first dot: member}."""
    key, members = "", dict[str, tarfile.TarInfo]()
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # it keeps every header that it has seen
        folder, _, name = member.name.rpartition("/")
        stem, dot, end = name.partition(".")
        if not member.isreg() or not stem or not dot:
            continue
        if (own := f"{folder}/{stem}" if folder else stem) != key:
            if members:
                yield key, members
            key, members = own, {}
        members[end.lower()] = member
    if members:
        yield key, members


def _notes(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> dict[str, str]:
    found: dict[str, str] = {}
    for end, name in (("cls", "label"), ("txt", "caption"), ("json", "")):
        if end not in members or members[end].size > _NOTE_BYTES:
            continue
        content = archive.extractfile(members[end])
        text = content.read().decode(errors="replace").strip() if content else ""
        if name:
            found[name] = text
            continue
        try:
            told = json.loads(text)
        except ValueError:
            continue
        known = told if isinstance(told, dict) else {}
        found |= {name: str(known[name]) for name in ("label", "caption") if known.get(name) is not None}
    return found


@lru_cache(_GROUPS)
def _column(file: Path, state: int, column: str, group: int) -> Any:
    parquet = require("pyarrow.parquet", "batch", "reading a Parquet file")
    return parquet.ParquetFile(file).read_row_group(group, columns=[column]).column(column)
