"""Where items come from: a folder, one file, a WebDataset, or a CSV, Parquet or JSONL manifest.

A manifest has a column `path` (relative to its own folder) or `text`, and may have `id`; every other column becomes
payload, except where a fact of our own (source, item, space, …) has its name. A folder with a manifest.parquet is read
by it, and so is a fetched data set by its name. Decodes nothing.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa

from enfold import archives, listing, modalities
from enfold.archives import Packed
from enfold.errors import WrongUse
from enfold.listing import MANIFESTS
from serving.jobs.shards import RESERVED

_OWN = {"path", "text"} | RESERVED  # columns that are no payload


@dataclass(frozen=True, slots=True)
class Item:
    key: str  # which item of its source, the same in every run
    raw: Path | Packed | str  # a file, or the text itself
    fields: dict[str, Any] = field(default_factory=dict)

    def state(self) -> str:
        """Changes when the item or its fields do."""
        content = listing.state(self.raw) if not isinstance(self.raw, str) else self.raw
        return hashlib.sha256(repr((content, self.fields)).encode()).hexdigest()[:32]


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
    if archives.shards(path):
        return _webdataset(path, uri, modality)
    if path.is_dir():
        return _folder(path, uri, modality)
    return Source(uri, 1, {}, lambda: iter([Item(path.name, path)]))


def _folder(folder: Path, uri: str, modality: str) -> Source:
    suffixes = modalities.suffixes(modality)
    files = listing.find(folder, suffixes, modalities.get(modality).members)
    if not files:
        raise WrongUse(f"{folder} holds no {modality} files ({', '.join(suffixes)})")

    def items() -> Iterator[Item]:
        for path, place in zip(files, listing.places(files), strict=True):
            yield Item(listing.readable(path), folder / path, place)

    return Source(uri, len(files), {"split": pa.string(), "label": pa.string()}, items)


def _webdataset(path: Path, uri: str, modality: str) -> Source:
    files, suffixes = archives.shards(path), modalities.suffixes(modality)
    count = sum(1 for _ in archives.of_shards(files, suffixes))
    if not count:
        raise WrongUse(f"the shards of {path} hold no {modality} files ({', '.join(suffixes)})")

    def items() -> Iterator[Item]:
        return (Item(entry.key, entry.place, entry.fields) for entry in archives.of_shards(files, suffixes))

    return Source(uri, count, dict.fromkeys(("split", "label", "caption"), pa.string()), items)


def _table(manifest: Path, uri: str, modality: str) -> Source:
    table = listing.open_table(manifest)
    wanted = ("text", "path") if modality == "text" else ("path",)
    content = next((name for name in wanted if name in table.schema.names), None)
    if content is None and table.files is None:
        has = ", ".join(table.schema.names)
        raise WrongUse(
            f"{manifest} has columns {has}; {modality} items need {' or '.join(wanted)}, or a column of bytes"
        )
    if not table.count:
        raise WrongUse(f"{manifest} has no rows")
    fields = {column.name: _kept(column.type) for column in table.schema if column.name not in _OWN}

    def items() -> Iterator[Item]:
        files = archives.of_parquet(manifest, table.files) if content is None and table.files else repeat(None)
        for (number, row), file in zip(enumerate(table.rows(), 1), files, strict=False):
            value = str(row[content] or "") if content else ""
            raw = file or (value if content == "text" else manifest.parent / value)
            kept = {name: plain for name in fields if (plain := _plain(row[name])) is not None}
            yield Item(listing.item_id(row, number), raw, kept)

    return Source(uri, table.count, fields, items)


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
