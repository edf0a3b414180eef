"""Tables of R packages, read without R: its database of serialised objects, as lists of rows."""

import gzip
import lzma
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rdata

from training.data.builders import Package

Line = dict[str, float | str | None]

SURVIVAL = Package(
    registry="debian",
    name="r-cran-survival",
    version="3.5-3-1",
    file="r-cran-survival_3.5-3-1_amd64.deb",
    size_bytes=5_910_212,
    sha256="f7b474e37620b54bd0112b3847bbad0a6b75b9c2121d6936548dd74ebd4003d5",
    wanted=("usr/lib/R/library/survival/data",),
)  # its tables


def of_r(folder: Path, names: list[str]) -> dict[str, list[Line]]:
    """Tables of R's database of serialised objects: an index of offset and length, and what lies there.

    A record is its length unpacked in four bytes, `Z` for LZMA2 or the beginning of a zlib stream, and the content.
    """
    index = _of_serialised(gzip.decompress((folder / "Rdata.rdx").read_bytes()))["variables"]
    stored = (folder / "Rdata.rdb").read_bytes()
    found = {}
    for name in names:
        offset, length = map(int, index[name])
        found[name] = list(_lines(_of_serialised(_unpacked(stored[offset + 4 : offset + length]))))
    return found


def _unpacked(record: bytes) -> bytes:
    if record[:1] == b"Z":
        return lzma.decompress(record[1:], lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}])
    return zlib.decompress(record)


def _of_serialised(data: bytes) -> Any:
    return rdata.conversion.convert(rdata.parser.parse_data(data, extension=".rds"))


def _lines(frame: Any) -> Iterator[Line]:
    columns = {str(name): frame[name].astype(object).tolist() for name in frame}
    for values in zip(*columns.values(), strict=True):
        yield {name: cell(value) for name, value in zip(columns, values, strict=True)}


def cell(value: Any) -> float | str | None:
    """A number, a text, or None for what R calls NA."""
    try:
        number = float(value)
    except (TypeError, ValueError):  # pandas' own NA is no number at all
        return value if isinstance(value, str) and value not in ("", "NA") else None
    return None if math.isnan(number) else number
