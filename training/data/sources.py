"""Opens a source as a data set: a built-in name, a folder of items, a file of records (FASTA, SDF), a WebDataset, or a
CSV, Parquet or JSONL manifest, Parquet also in shards.

A manifest has a column `path` (relative to its own folder), one named as its items' modality that holds them (`text`),
or in Parquet one of bytes, and may have `id`, `label`, `group` and `split`; every other column travels as payload. One
without any of these is a table, whose rows are the items. Built-in sets are folders with a manifest, opened
by the same code. Whatever a user brings is decoded once, to find near-duplicates and items that cannot be read; the
verdict is kept until a file changes.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import orjson
from rich.console import Console
from rich.progress import track

from enfold import archives, listing, modalities
from enfold.archives import Packed
from enfold.errors import BadItem, UnknownName, WrongUse
from enfold.listing import COLUMNS, MANIFESTS, SPLITS
from training.data import builders, splits
from training.data.dataset import Dataset, Record, digest

UNSTATED = "not stated"
_ABOUT = tuple(name for name in COLUMNS if name != "text")  # no payload; a text may be one, where it is not the item


@dataclass(frozen=True, slots=True)
class Row:
    """An item as its source lists it: None where the source says nothing."""

    id: str
    path: Path | Packed | None = None
    value: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    state: str = ""  # changes when the content does: a digest, or size and time of change
    payload: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What looking at an item found: why it cannot be used, or the group and split it belongs to."""

    reason: str | None
    group: str
    split: str


def open_dataset(source: str, *, data: Path, modality: str | None = None) -> Dataset:
    """The data set behind `source`.

    data      the folder of data sets (`Settings.data`); verdicts on a user's items are kept there too
    modality  what its items are to be read as, where their files may be of several kinds; else what most of them are

    Raises WrongUse for a source that holds nothing usable, UnknownName for one that is nothing at all.
    """
    if source in builders.names():
        return _built_in(source, data)
    path = Path(source).expanduser()
    if manifest := listing.manifest_of(path):
        return _manifest(manifest, data, modality)
    if archives.shards(path):
        return _webdataset(path, data, modality)
    if path.is_dir():
        return _folder(path, data, modality)
    if path.is_file():
        return _records(path, data, modality)
    hint = f"A source may also be a folder of items, or a manifest ({', '.join(MANIFESTS)}) that exists."
    raise UnknownName.among("data set", source, builders.names(), hint)


def _built_in(name: str, data: Path) -> Dataset:
    """A fetched set, as its builder wrote it: read, grouped and split when it was built."""
    if not (data / name / "dataset.json").is_file():
        raise WrongUse(f"the data set '{name}' is not on this machine yet: enfold data fetch {name}")
    facts = builders.facts(name)
    if facts.holds != "manifest.parquet":
        raise WrongUse(f"'{name}' is a model, not a data set: enfold import {name} --name {name}")
    rows, modality = _listed(data / name / "manifest.parquet", facts.modality)
    verdicts = [Verdict(None, row.group or row.id, row.split or "train") for row in rows]
    return _dataset(name, modality, rows, verdicts, data / name, licence=facts.licence)


def _manifest(manifest: Path, data: Path, asked: str | None) -> Dataset:
    rows, modality = _listed(manifest, asked)
    folder = _folder_of(manifest)
    name = folder.resolve().name if manifest.is_dir() or manifest.stem == "manifest" else manifest.stem
    return _dataset(name, modality, rows, _verdicts(rows, modality, data), folder)


def _folder_of(manifest: Path) -> Path:
    """What the paths of a manifest start from."""
    return manifest if manifest.is_dir() else manifest.parent


def _folder(folder: Path, data: Path, asked: str | None) -> Dataset:
    """Every readable file below `folder`, of the kind asked for or the one that most of them are."""
    suffixes = modalities.suffixes(asked) if asked else _all_suffixes()
    listed = listing.find(folder, suffixes, modalities.get(asked).members if asked else ())
    kinds = {path: asked or modalities.of_path(path) for path in listed}
    if not kinds:
        raise WrongUse(f"{folder} holds no {asked or 'readable'} files; accepted suffixes: {', '.join(suffixes)}")
    modality = str(Counter(kinds.values()).most_common(1)[0][0])
    files = [path for path, kind in kinds.items() if kind == modality]
    rows = [
        Row(
            id=listing.readable(path),
            path=folder / path,
            label=place.get("label"),
            split=place.get("split"),
            state=listing.state(folder / path),
        )
        for path, place in zip(files, listing.places(files), strict=True)
    ]
    others = [
        (listing.readable(path), f"a {kind} among {modality} items") for path, kind in kinds.items() if kind != modality
    ]
    return _dataset(folder.resolve().name, modality, rows, _verdicts(rows, modality, data), folder, others=others)


def _records(file: Path, data: Path, asked: str | None) -> Dataset:
    """The items of a file that holds several, such as FASTA."""
    modality = asked or modalities.of_path(file)
    found = modalities.get(modality).records(file) if modality else ()
    if modality is None or not found:
        raise WrongUse(f"{file} is no manifest ({', '.join(MANIFESTS)}): name one, or a folder of items")
    rows = [Row(id=one.name, path=one, state=one.state()) for one in found]
    return _dataset(file.stem, modality, rows, _verdicts(rows, modality, data), file.parent)


def _webdataset(source: Path, data: Path, asked: str | None) -> Dataset:
    """Every sample of the shards, of the kind asked for or the one that most of them are."""
    files = archives.shards(source)
    suffixes = modalities.suffixes(asked) if asked else _all_suffixes()
    found = list(archives.of_shards(files, suffixes))
    kinds = Counter(asked or modalities.of_path(entry.place.name) for entry in found)
    if not kinds:
        raise WrongUse(f"the shards of {source} hold no {asked or 'readable'} files; accepted: {', '.join(suffixes)}")
    modality = str(kinds.most_common(1)[0][0])
    rows = [
        Row(
            id=entry.key,
            path=entry.place,
            label=entry.fields.get("label"),
            split=entry.fields.get("split"),
            state=entry.place.state(),
            payload={name: value for name, value in entry.fields.items() if name not in COLUMNS},
        )
        for entry in found
        if asked or modalities.of_path(entry.place.name) == modality
    ]
    if len({row.split is None for row in rows}) > 1:  # shards of which only some say what they are for
        rows = [replace(row, split=None) for row in rows]
    name = source.stem if source.is_file() else source.resolve().name
    return _dataset(name, modality, rows, _verdicts(rows, modality, data), source.parent)


def _dataset(
    name: str,
    modality: str,
    rows: list[Row],
    verdicts: list[Verdict],
    folder: Path,
    *,
    licence: str = UNSTATED,
    others: list[tuple[str, str]] | None = None,
) -> Dataset:
    judged = list(zip(rows, verdicts, strict=True))
    skipped = [(row.id, verdict.reason) for row, verdict in judged if verdict.reason is not None]
    used = [(row, verdict) for row, verdict in judged if verdict.reason is None]
    if not used:
        first = ": ".join(skipped[0])
        raise WrongUse(f"none of the {len(rows):,} items of '{name}' can be read; the first is {first}")
    return Dataset(
        name=name,
        modality=modality,
        records=tuple(
            Record(row.id, row.path, row.value, row.label, verdict.group, verdict.split, row.payload)
            for row, verdict in used
        ),
        licence=licence,
        fingerprint=digest(
            text for row, verdict in used for text in (row.id, row.label, verdict.group, verdict.split, row.state)
        ),
        classes=tuple(sorted({row.label for row, _ in used if row.label is not None})),
        folder=folder,
        skipped=(*skipped, *(others or [])),
    )


def _verdicts(rows: list[Row], modality: str, data: Path) -> list[Verdict]:
    """Look at every item, or remember what was found when the same items were looked at before."""
    key = digest(text for row in rows for text in (row.id, row.label, row.group, row.split, row.state))
    kept = data / ".verdicts" / f"{key[:32]}.json"
    if kept.is_file():
        return [Verdict(**verdict) for verdict in orjson.loads(kept.read_bytes())]
    verdicts = _judge(rows, modality)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=kept.parent, delete=False) as file:
        file.write(orjson.dumps(verdicts))
    os.replace(file.name, kept)
    return verdicts


def _judge(rows: list[Row], modality: str) -> list[Verdict]:
    reader = modalities.get(modality)(None)

    def see(row: Row) -> tuple[Any, str | None]:
        try:
            mark = reader.mark(Record(row.id, row.path, row.value, None, "", "").read(reader))
            return _bytes_of(row) if mark is None else mark, None
        except BadItem as error:
            return None, str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        console = Console(stderr=True)
        seen = list(track(pool.map(see, rows), "reading items", len(rows), console=console, transient=True))
    good = [i for i, (_, reason) in enumerate(seen) if reason is None]
    groups = splits.near_duplicates([seen[i][0] for i in good], [rows[i].group or rows[i].id for i in good])
    assigned = splits.assign_splits(groups, [rows[i].label for i in good])
    verdicts = [Verdict(reason, "", "") for _, reason in seen]
    for i, group, split in zip(good, groups, assigned, strict=True):
        verdicts[i] = Verdict(None, group, rows[i].split or split)
    return verdicts


def _bytes_of(row: Row) -> str:
    """A digest of the item's file, or of all its folder's."""
    assert row.path is not None
    total = hashlib.sha256()
    if isinstance(row.path, Packed):
        return hashlib.sha256(row.path.read_bytes()).hexdigest()
    for path in sorted(row.path.iterdir()) if row.path.is_dir() else [row.path]:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _listed(manifest: Path, asked: str | None) -> tuple[list[Row], str]:
    """The rows of a manifest and their modality."""
    table = listing.open_table(manifest)
    lines = list(table.rows())
    if not lines:
        raise WrongUse(f"{manifest} lists no items")
    columns = list(dict.fromkeys(name for line in lines for name in line))
    held = [asked] if asked and modalities.get(asked).inline else modalities.inline_names()
    where = next((name for name in ("path", *held) if name in columns), None)
    rows_of = modalities.of_rows(asked) if where is None and table.files is None else None
    if where is None and table.files is None and rows_of is None:
        has = ", ".join(map(str, columns))
        raise WrongUse(f"{manifest} needs a column 'path' or 'text', or in Parquet one of bytes; it has: {has}")
    if where is None and asked is None and rows_of is None:
        raise WrongUse(
            f"{manifest} holds files in column '{table.files}': say what they are to be read as (--modality)"
        )
    cells = table.cells() if where is None and table.files else repeat(None)
    numbered = zip(enumerate(lines, 1), cells, strict=False)
    rows = _distinct(manifest, [_row(line, number, where, manifest, cell) for (number, line), cell in numbered])
    if where is None:
        return rows, rows_of or str(asked)
    return rows, where if where in held else _modality(rows, manifest, asked)


def _distinct(manifest: Path, rows: list[Row]) -> list[Row]:
    """Checked for what one row alone does not tell."""
    repeated = [id for id, count in Counter(row.id for row in rows).items() if count > 1]
    if repeated:
        raise WrongUse(f"{manifest} lists '{repeated[0]}' more than once: give each item an id of its own, or one row")
    if len({row.split is None for row in rows}) > 1:
        raise WrongUse(f"{manifest} gives some items a split and some none: fill column 'split' or leave it out")
    return rows


def _row(line: dict[str, Any], number: int, where: str | None, manifest: Path, cell: Packed | None) -> Row:
    """One line, checked. A line without the item it should name is refused, not skipped.

    where   the column that names the item or holds it; None for one that is the `cell`, or the line itself
    """
    known = {name: str(line[name]) for name in COLUMNS if line.get(name) not in (None, "")}
    extra = {name: value for name, value in line.items() if name != where and name not in _ABOUT}
    if where is not None and line.get(where) in (None, ""):
        raise WrongUse(f"{manifest}, item {number}: column '{where}' is empty")
    if known.get("split", "train") not in SPLITS:
        raise WrongUse(f"{manifest}, item {number}: split '{known['split']}' is none of {', '.join(SPLITS)}")
    file = _folder_of(manifest) / known["path"] if where == "path" else None
    if file is not None and not file.exists():
        raise WrongUse(f"{manifest}, item {number}: there is no file {file}")
    place = file or cell
    at = f"{manifest}, item {number}"
    value = None if place else listing.row_of(line, at) if where is None else listing.inline(line[where])
    return Row(
        id=listing.item_id(known, number),
        path=place,
        value=value,
        label=known.get("label"),
        group=known.get("group"),
        split=known.get("split"),
        # A builder records digests, so that a built-in set has one fingerprint on every machine.
        state=str(line.get("sha256") or listing.state(place)) if place else digest([value]),
        payload=dict(_payload(extra)),
    )


def _payload(extra: dict[str, Any]) -> Iterator[tuple[str, str | int | float]]:
    for name, value in extra.items():
        if value is None or value != value:  # missing, or not a number
            continue
        if isinstance(value, dict | list):
            yield name, listing.inline(value)
        else:
            yield name, value if isinstance(value, str | int | float) else str(value)


def _modality(rows: list[Row], manifest: Path, asked: str | None) -> str:
    among = (asked,) if asked else ()
    paths = [row.path for row in rows if isinstance(row.path, Path)]
    kinds = {asked if path.is_dir() else modalities.of_path(path, among): path for path in paths}
    if None in kinds:
        suffixes = modalities.suffixes(asked) if asked else _all_suffixes()
        what = f"no {asked} item" if asked else "of no known kind"
        raise WrongUse(f"{manifest} lists {kinds[None]}, {what}; accepted suffixes: {', '.join(suffixes)}")
    if len(kinds) > 1:
        examples = ", ".join(f"{kind} ({path.name})" for kind, path in kinds.items())
        raise WrongUse(f"{manifest} mixes kinds of items: {examples}; write one manifest for each")
    return str(next(iter(kinds)))


def _all_suffixes() -> tuple[str, ...]:
    return tuple(suffix for name in modalities.names() for suffix in modalities.get(name).media_types)
