"""Where items come from: a folder, one file, or a CSV, Parquet or JSONL manifest.

A manifest has a column `path` (relative to its own folder) or `text`, and may have `id`; every other column becomes
payload, except where a fact of our own (source, item, space, …) has its name. A folder with a manifest.parquet is read
by it, and so is a fetched data set by its name. In any other folder the first sub-folder is the label, after one that
is a split. Decodes nothing.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet
from pyarrow import json as jsonl

from enfold import modalities
from enfold.errors import WrongUse
from serving.jobs.shards import RESERVED

MANIFESTS = (".csv", ".parquet", ".jsonl")
_SPLITS = {"train", "val", "test"}
_OWN = {"path", "text"} | RESERVED  # columns that are no payload


@dataclass(frozen=True, slots=True)
class Item:
    key: str  # which item of its source, the same in every run
    raw: Path | str  # a file, or the text itself
    fields: dict[str, Any] = field(default_factory=dict)

    def state(self) -> str:
        """Changes when the item or its fields do."""
        facts: tuple[Any, ...] = (self.raw,)
        if isinstance(self.raw, Path):
            try:
                found = self.raw.stat()
                facts = (found.st_size, found.st_mtime_ns)
            except (OSError, ValueError):
                facts = ("missing",)
        return hashlib.sha256(repr((facts, self.fields)).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Source:
    """Items of one modality; `fields` are the types of their payload columns."""

    uri: str
    count: int
    fields: dict[str, pa.DataType]
    items: Callable[[], Iterator[Item]]


def locate(name: str, *, data: Path) -> tuple[Path, str]:
    """Where a source lies and its URI; nothing of it is read. Raises WrongUse if there is none.

    data   the folder of fetched data sets (`Settings.data`)
    """
    path = Path(name).expanduser()
    if path.exists():
        return path, path.resolve().as_uri()
    if (data / name / "manifest.parquet").is_file():
        return data / name, f"data:{name}"
    raise WrongUse(
        f"there is no source '{name}': give a folder, a file, a manifest ({', '.join(MANIFESTS)}), "
        "or the name of a data set that 'enfold data fetch' has brought"
    )


def open_source(name: str, *, modality: str, data: Path) -> Source:
    """The items of a source. Raises WrongUse for a source without items of the modality."""
    path, uri = locate(name, data=data)
    manifest = path / "manifest.parquet" if path.is_dir() else path
    if manifest.suffix.lower() in MANIFESTS and manifest.is_file():
        return _table(manifest, uri, modality)
    if path.is_dir():
        return _folder(path, uri, modality)
    return Source(uri, 1, {}, lambda: iter([Item(path.name, path)]))


def _folder(folder: Path, uri: str, modality: str) -> Source:
    suffixes = modalities.get(modality).media_types
    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    files = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    if not files:
        raise WrongUse(f"{folder} holds no {modality} files ({', '.join(suffixes)})")
    depth = 1 if {path.parts[0] for path in files} <= _SPLITS else 0

    def items() -> Iterator[Item]:
        for path in files:
            key = _readable(path.as_posix())
            folders = key.split("/")[:-1]
            fields = dict(zip(("split", "label") if depth else ("label",), folders, strict=False))
            yield Item(key, folder / path, fields)

    return Source(uri, len(files), {"split": pa.string(), "label": pa.string()}, items)


def _table(manifest: Path, uri: str, modality: str) -> Source:
    columns, count, batches = _opened(manifest)
    wanted = ("text", "path") if modality == "text" else ("path",)
    content = next((name for name in wanted if name in columns.names), None)
    if content is None:
        has = ", ".join(columns.names)
        raise WrongUse(f"{manifest} has columns {has}; {modality} items need {' or '.join(wanted)}")
    if not count:
        raise WrongUse(f"{manifest} has no rows")
    fields = {column.name: _kept(column.type) for column in columns if column.name not in _OWN}

    def items() -> Iterator[Item]:
        rows = (row for batch in batches() for row in batch.to_pylist())
        for number, row in enumerate(rows):
            value = str(row[content] or "")
            key = value if content == "path" else f"row {number}"
            key = key if row.get("id") is None else str(row["id"])
            raw = value if content == "text" else manifest.parent / value
            yield Item(key, raw, {name: plain for name in fields if (plain := _plain(row[name])) is not None})

    return Source(uri, count, fields, items)


def _opened(manifest: Path) -> tuple[pa.Schema, int, Callable[[], Iterator[pa.RecordBatch]]]:
    """Columns, number of rows, and what reads them."""
    try:
        if manifest.suffix.lower() == ".parquet":
            file = parquet.ParquetFile(manifest)
            return file.schema_arrow, file.metadata.num_rows, file.iter_batches
        if manifest.suffix.lower() == ".csv":
            table = csv.read_csv(manifest, parse_options=csv.ParseOptions(newlines_in_values=True))
        else:
            table = jsonl.read_json(manifest)
    except pa.ArrowException as error:
        raise WrongUse(f"{manifest} cannot be read as a table: {error}") from None
    return table.schema, table.num_rows, lambda: iter(table.to_batches())


def _readable(name: str) -> str:
    """A file's name as Unicode, also where it is none."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _kept(kind: pa.DataType) -> pa.DataType:
    """The type of a column once its values are `_plain`."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    as_is = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_nested)
    return kind if any(fits(kind) for fits in as_is) else pa.string()


def _plain(value: Any) -> Any:
    """A value as JSON has it: dates and the like as their text, what is no number as nothing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool | list | dict) else str(value)
