"""Where items come from: a folder, a file, a WebDataset, a manifest (CSV, Parquet, JSONL), here or in a store.

A file is one item, or several where it holds records (FASTA).

A manifest has a column `path` (relative to its own folder), or one named as its items' modality that holds them
(`text`), or its rows are the items; it may have `id`. Every other column becomes payload, except where a fact of our
own (source, item, space, …) has its name. A folder with a manifest.parquet is read by it, and so is a fetched data set
by its name. Of an object store (s3://bucket/photos) files are read when they are needed; manifests and archives are
copied to this machine first. Decodes nothing.
"""

import hashlib
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pyarrow as pa

from enfold import archives, listing, modalities
from enfold.archives import Packed
from enfold.errors import WrongUse
from enfold.listing import MANIFESTS
from serving.jobs.places import Place, Remote, is_remote
from serving.jobs.shards import RESERVED

_NOWHERE = Path("not in the store")  # a path of a manifest that leads to nothing
_OWN = {"path"} | RESERVED  # columns that are no payload


@dataclass(frozen=True, slots=True)
class Item:
    key: str  # which item of its source, the same in every run
    raw: Path | Packed | str | bytes  # a file, or the item itself: a text, a row as JSON, a file's content
    fields: dict[str, Any] = field(default_factory=dict)
    id: str | None = None  # of its point, where that is not made from source and key

    def state(self) -> str:
        """Changes when the item or its fields do."""
        content = self.raw if isinstance(self.raw, str | bytes) else listing.state(self.raw)
        return hashlib.sha256(repr((content, self.fields)).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Source:
    """Items of one modality; `fields` are the types of their payload columns."""

    uri: str
    count: int
    fields: dict[str, pa.DataType]
    items: Callable[[], Iterator[Item]]

    def first(self, limit: int) -> "Source":
        """The first so many of its items."""
        return replace(self, count=min(limit, self.count), items=lambda: islice(self.items(), limit))

    def shard(self, number: int, of: int) -> "Source":
        """Those of its items that fall to one of several machines, by their keys: the same when the source grows."""
        if of == 1:
            return self

        def items() -> Iterator[Item]:
            return (item for item in self.items() if zlib.crc32(item.key.encode()) % of == number - 1)

        return replace(self, count=sum(1 for _ in items()), items=items)


def locate(name: str, *, data: Path) -> tuple[Path, str]:
    """Where a source lies and its URI; nothing of it is read. Raises WrongUse if there is none.

    data   the folder of fetched data sets (`Settings.data`)
    """
    told = urlsplit(name)
    path = Path(url2pathname(told.path)) if told.scheme == "file" else Path(name).expanduser()
    name = name.removeprefix("data:")
    if path.exists():
        return path, path.resolve().as_uri()
    if (data / name / "manifest.parquet").is_file():
        return data / name, f"data:{name}"
    raise WrongUse(
        f"there is no source '{name}': give a folder, a file, a manifest ({', '.join(MANIFESTS)}), "
        "or the name of a data set that 'enfold data fetch' has brought"
    )


def uri_of(name: str, *, data: Path) -> str:
    """What items of a source carry as theirs. Raises WrongUse if it can be none."""
    return Place.at(name).uri if is_remote(name) else locate(name, data=data)[1]


def open_source(name: str, *, modality: str, data: Path) -> Source:
    """The items of a source. Raises WrongUse for a source without items of the modality."""
    if is_remote(name):
        return _of_store(Place.at(name), modality, data.parent / "fetched")
    path, uri = locate(name, data=data)
    if manifest := listing.manifest_of(path):
        return _table(manifest, uri, modality)
    if archives.shards(path):
        return _webdataset(archives.shards(path), uri, modality)
    if path.is_dir():
        return _folder(path, uri, modality)
    if records := modalities.get(modality).records(path):
        return Source(uri, len(records), {}, lambda: (Item(one.name, one) for one in records))
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


def _of_store(place: Place, modality: str, copies: Path) -> Source:
    found = place.found()
    if not found:
        raise WrongUse(f"there is no source '{place}': nothing lies there")
    file, manifest = found.get(""), found.get("manifest.parquet")
    if file is not None and file.name.lower().endswith(MANIFESTS):
        beside = replace(place, path=place.path.rpartition("/")[0]).found()
        return _table(file.fetch(copies), place.uri, modality, beside)
    if manifest is not None:
        return _table(manifest.fetch(copies), place.uri, modality, found)
    shards = [one for name, one in sorted(found.items()) if one.name.lower().endswith(".tar") and "/" not in name]
    if shards:
        return _webdataset([one.fetch(copies) for one in shards], place.uri, modality)
    if file is not None:
        return Source(place.uri, 1, {}, lambda: iter([Item(file.name, file)]))
    suffixes = modalities.suffixes(modality)
    shown = {
        name: one
        for name, one in sorted(found.items())
        if name.lower().endswith(suffixes) and not any(part.startswith(".") for part in name.split("/"))
    }
    if not shown:
        raise WrongUse(f"{place} holds no {modality} files ({', '.join(suffixes)})")

    def items() -> Iterator[Item]:
        told = listing.places([Path(name) for name in shown])
        return (Item(name, one, said) for (name, one), said in zip(shown.items(), told, strict=True))

    return Source(place.uri, len(shown), {"split": pa.string(), "label": pa.string()}, items)


def _webdataset(files: list[Path], uri: str, modality: str) -> Source:
    suffixes = modalities.suffixes(modality)
    count = sum(1 for _ in archives.of_shards(files, suffixes))
    if not count:
        raise WrongUse(f"the shards of {uri} hold no {modality} files ({', '.join(suffixes)})")

    def items() -> Iterator[Item]:
        return (Item(entry.key, entry.place, entry.fields) for entry in archives.of_shards(files, suffixes))

    return Source(uri, count, dict.fromkeys(("split", "label", "caption"), pa.string()), items)


def _table(manifest: Path, uri: str, modality: str, beside: dict[str, Remote] | None = None) -> Source:
    """beside   the files of a store that its paths name; without it they are this machine's"""
    table, kind = listing.open_table(manifest), modalities.get(modality)
    folder = manifest if manifest.is_dir() else manifest.parent
    wanted = (modality, "path") if kind.inline else ("path",)
    content = next((name for name in wanted if name in table.schema.names), None)
    if content is None and table.files is None and not kind.rows:
        has = ", ".join(table.schema.names)
        raise WrongUse(
            f"{manifest} has columns {has}; {modality} items need {' or '.join(wanted)}, or a column of bytes"
        )
    if not table.count:
        raise WrongUse(f"{manifest} has no rows")
    fields = {column.name: _kept(column.type) for column in table.schema if column.name not in {*_OWN, content}}

    def items() -> Iterator[Item]:
        files = table.cells() if content is None and table.files else repeat(None)
        for (number, row), file in zip(enumerate(table.rows(), 1), files, strict=False):
            if content == "path":
                path = str(row[content] or "")
                raw: Path | Packed | str = folder / path if beside is None else beside.get(path, _NOWHERE)
            elif content is not None:
                raw = listing.inline(row[content] or "")
            else:
                raw = file or listing.row_of(row, f"{manifest}, item {number}")
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
