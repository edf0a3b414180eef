"""How items lie on a disk: files in folders, or rows of a CSV, Parquet or JSONL manifest.

Training and batch jobs list a source by this one code, so that an item has the same name, label and split in both.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from enfold import archives
from enfold.archives import Packed
from enfold.errors import WrongUse, require

MANIFESTS = (".csv", ".parquet", ".jsonl")
SPLITS = ("train", "val", "test")
COLUMNS = ("id", "path", "text", "label", "group", "split")  # with a meaning of their own; the rest is payload
_LONGEST_LINE_BYTES = 2**26


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


@dataclass(frozen=True)
class Table:
    """A manifest: its Arrow schema, how many rows it has, and what reads them in batches.

    A column of files of a Parquet manifest is no part of that: `files` is its name.
    """

    schema: Any
    count: int
    batches: Callable[[], Iterator[Any]]
    files: str | None = None

    def rows(self) -> Iterator[dict[str, Any]]:
        return (row for batch in self.batches() for row in batch.to_pylist())


def open_table(manifest: Path) -> Table:
    """Typed as the file says; in CSV what names an item is text ("007"). Raises WrongUse for what is no table."""
    pa = require("pyarrow", "batch", "reading a manifest")
    suffix = manifest.suffix.lower()
    try:
        if suffix == ".parquet":
            file = require("pyarrow.parquet", "batch", "reading a manifest").ParquetFile(manifest)
            schema, files = file.schema_arrow, archives.files_columns(file.schema_arrow)
            kept = [name for name in schema.names if name not in files]
            plain = pa.schema([schema.field(name) for name in kept])
            read = partial(file.iter_batches, columns=kept)
            return Table(plain, file.metadata.num_rows, read, next(iter(files), None))
        table = _csv(manifest) if suffix == ".csv" else _jsonl(manifest)
    except (pa.ArrowException, ValueError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise WrongUse(f"{manifest} cannot be read as {suffix.removeprefix('.')}: {reason}") from None
    return Table(table.schema, table.num_rows, lambda: iter(table.to_batches()))


def item_id(row: dict[str, Any], number: int) -> str:
    """A row's id: its own, else its path, else its number from 1."""
    own = next((row[name] for name in ("id", "path") if row.get(name) not in (None, "")), None)
    return f"{number:06d}" if own is None else str(own)


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
