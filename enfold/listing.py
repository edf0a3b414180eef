"""How items lie on a disk: files in folders, or rows of a CSV, Parquet or JSONL manifest, or of Parquet in shards.

Training and batch jobs list a source by this one code, so that an item has the same name, label and split in both.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from enfold import archives
from enfold.archives import Packed
from enfold.errors import WrongUse, require

MANIFESTS = (".csv", ".parquet", ".jsonl")
SPLITS = ("train", "val", "test")
COLUMNS = ("id", "path", "text", "label", "group", "split")  # with a meaning of their own; the rest is payload
_ABOUT = ("id", "label", "group", "split")  # what a row says of itself, where it is the item
_LONGEST_LINE_BYTES = 2**26
_ROWS = 4096  # of a table that are Python objects at a time
_SHARD = re.compile(r".*-\d{5}-of-\d{5}\.parquet|part-\d{5}.*\.parquet")  # as Hugging Face and Spark name them


def find(folder: Path, suffixes: Collection[str], members: tuple[str, ...] = ()) -> list[Path]:
    """Files below `folder` with one of the suffixes, relative to it, in order; hidden ones are left out.

    members   suffixes of files that make up one item with all that lie beside them: their folder is listed instead

    Links that lead nowhere are among them: whoever reads them says so.
    """
    ends = (*suffixes, *members)
    found = (path for path in folder.rglob("*") if path.name.lower().endswith(ends) and not path.is_dir())
    relative = [path.relative_to(folder) for path in found]
    shown = [path for path in relative if not any(part.startswith(".") for part in path.parts)]
    whole = {path.parent for path in shown if members and path.name.lower().endswith(members)}
    return sorted({path.parent if path.parent in whole else path for path in shown})


def state(path: Path | Packed) -> str:
    """Changes when an item's file does, or one of its folder's."""
    try:
        if isinstance(path, Packed):
            return path.state()
        facts = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
        return " ".join(f"{status.st_size} {status.st_mtime_ns}" for status in (file.stat() for file in facts))
    except (OSError, ValueError):
        return "missing"


def places(files: Sequence[Path]) -> list[dict[str, str]]:
    """What folders say of each file: its label is the first sub-folder, after one that is a split.

    Folders are splits where everything lies in train/, val/ or test/.
    """
    names = ("split", "label") if {path.parts[:1] for path in files} <= {(split,) for split in SPLITS} else ("label",)
    return [dict(zip(names, readable(path).split("/")[:-1], strict=False)) for path in files]


def readable(path: Path) -> str:
    """A relative path as Unicode, also where it is none: the id of the file."""
    return path.as_posix().encode(errors="surrogateescape").decode(errors="backslashreplace")


def manifest_of(source: Path) -> Path | None:
    """What lists the items of a source: itself, the manifest in its folder, or a folder of shards; None if files do."""
    if not source.is_dir():
        return source if source.suffix.lower() in MANIFESTS and source.is_file() else None
    own = source / "manifest.parquet"
    if own.is_file():
        return own
    return next((folder for folder in (source, source / "data") if folder.is_dir() and _shards(folder)), None)


@dataclass(frozen=True)
class Table:
    """A manifest: its Arrow schema, how many rows it has, and what reads them in batches.

    A column of files of a Parquet manifest is no part of that: `files` is its name, `cells` tells where each lies.
    """

    schema: Any
    count: int
    batches: Callable[[], Iterator[Any]]
    files: str | None = None
    cells: Callable[[], Iterator[Packed]] = lambda: iter(())

    def rows(self) -> Iterator[dict[str, Any]]:
        return (row for batch in self.batches() for row in batch.to_pylist())


def open_table(manifest: Path) -> Table:
    """Typed as the file says; in CSV what names an item is text ("007"). Raises WrongUse for what is no table."""
    if manifest.is_dir():
        return _joined([(shard, open_table(shard)) for shard in _shards(manifest)])
    pa = require("pyarrow", "batch", "reading a manifest")
    suffix = manifest.suffix.lower()
    try:
        if suffix == ".parquet":
            file = require("pyarrow.parquet", "batch", "reading a manifest").ParquetFile(manifest)
            schema, files = file.schema_arrow, archives.files_columns(file.schema_arrow)
            _check_distinct(manifest, schema.names)
            kept = [name for name in schema.names if name not in files]
            plain = pa.schema([schema.field(name) for name in kept])
            read = partial(file.iter_batches, columns=kept, batch_size=_ROWS)
            column = next(iter(files), None)
            cells = partial(archives.of_parquet, manifest, column) if column else lambda: iter(())
            return Table(plain, file.metadata.num_rows, read, column, cells)
        table = _csv(manifest) if suffix == ".csv" else _jsonl(manifest)
    except (pa.ArrowException, ValueError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise WrongUse(f"{manifest} cannot be read as {suffix.removeprefix('.')}: {reason}") from None
    _check_distinct(manifest, table.schema.names)
    return Table(table.schema, table.num_rows, lambda: iter(table.to_batches(max_chunksize=_ROWS)))


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _SHARD.fullmatch(path.name) and path.is_file())


def _joined(shards: Sequence[tuple[Path, Table]]) -> Table:
    """Shards as one table; what a shard's name says of its split is a column, where all say it and none has one."""
    pa = require("pyarrow", "batch", "reading a manifest")
    (first, one), *others = shards
    for shard, other in others:
        if not other.schema.equals(one.schema) or other.files != one.files:
            raise WrongUse(f"{shard} has other columns than {first}: shards of one table have the same, in one order")
    splits = [archives.split_of(shard) for shard, _ in shards]
    told = "split" not in one.schema.names and None not in splits

    def batches() -> Iterator[Any]:
        for (_, table), split in zip(shards, splits, strict=True):
            for batch in table.batches():
                named = pa.array([split] * batch.num_rows, pa.string())
                yield batch.append_column("split", named) if told else batch

    return Table(
        one.schema.append(pa.field("split", pa.string())) if told else one.schema,
        sum(table.count for _, table in shards),
        batches,
        one.files,
        lambda: (cell for _, table in shards for cell in table.cells()),
    )


def inline(value: Any) -> str:
    """An item that stands in its manifest: a text, or an object as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def row_of(line: Mapping[str, Any], where: str) -> str:
    """A line of a manifest that is the item itself, as JSON: every column but those with a meaning of their own.

    where   begins the sentence if it is not Unicode
    """
    # Without a name are the numbers of lines that pandas and R write.
    cells = {name: value for name, value in line.items() if name.strip() and name not in _ABOUT}
    coded = next((name for name, value in cells.items() if isinstance(value, bytes)), None)
    if coded is not None:
        raise WrongUse(f"{where}: column '{coded}' is not UTF-8: save the whole file in one encoding")
    return orjson.dumps(cells, default=str).decode()


def item_id(row: dict[str, Any], number: int) -> str:
    """A row's id: its own, else its path, else its number from 1."""
    own = next((row[name] for name in ("id", "path") if row.get(name) not in (None, "")), None)
    return f"{number:06d}" if own is None else str(own)


def _check_distinct(manifest: Path, names: Sequence[str]) -> None:
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise WrongUse(f"{manifest} has two columns '{repeated}': give each a name of its own")


def _csv(manifest: Path) -> Any:
    pa, csv = (require(name, "batch", "reading a manifest") for name in ("pyarrow", "pyarrow.csv"))
    return csv.read_csv(
        manifest,
        read_options=csv.ReadOptions(block_size=_LONGEST_LINE_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string())),
    )


def _jsonl(manifest: Path) -> Any:
    jsonl = require("pyarrow.json", "batch", "reading a manifest")
    return jsonl.read_json(manifest, read_options=jsonl.ReadOptions(block_size=_LONGEST_LINE_BYTES))
