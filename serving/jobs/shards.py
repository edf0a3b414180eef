"""What a job has made so far: files part-00001.parquet …, each whole from the moment it has its name.

Columns are id, vector, the payload's fields and, where they are kept, thumbnail and token_vectors; the schema's
metadata names space, model and job.
"""

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from enfold.errors import Conflict
from serving.index import Points, arrow
from serving.jobs.places import Place

_PART = pa.struct([("index", pa.int64()), ("start", pa.int64()), ("end", pa.int64()), ("box", pa.list_(pa.int64()))])
_FACTS = ("source", "item", "text", "space", "bundle", "run")
OWN = dict.fromkeys(_FACTS, pa.string()) | {"part": _PART}  # payload fields
_TOKENS = "token_vectors"  # a source may well have a field of the name `tokens`
_NO_PAYLOAD = ("id", "vector", "thumbnail", _TOKENS)
RESERVED = {*OWN, *_NO_PAYLOAD}  # names that a source's fields cannot have


class Shards:
    def __init__(self, folder: Place | Path, job: str, fields: dict[str, pa.DataType]):
        """fields   types of the payload's fields besides our own"""
        self._folder = folder if isinstance(folder, Place) else Place.at(str(folder))
        self._job, self._fields = job, OWN | fields
        for name in self._names(".parquet"):
            with self._folder.open(name) as file:
                of = (parquet.read_schema(file).metadata or {}).get(b"job")
            if of != job.encode():
                raise Conflict(f"{name} in {self._folder} is of another job: give this one a folder of its own")

    def keep_only(self, numbers: Iterable[int]) -> None:
        """Remove what a killed job left half-done."""
        known = {_name(number) for number in numbers}
        for name in self._names(".parquet", ".draft"):
            if name not in known:
                self._folder.remove(name)

    def present(self) -> set[int]:
        """Numbers of the shards that there are."""
        return {int(name[len("part-") : -len(".parquet")]) for name in self._names(".parquet")}

    def write(self, number: int, points: Points, model: str) -> None:
        columns: dict[str, Any] = {
            "id": pa.array(points.ids, pa.string()),
            "vector": arrow.of_vectors(points.vectors),
        }
        for name, kind in self._fields.items():
            columns[name] = pa.array([payload.get(name) for payload in points.payloads], kind)
        if points.thumbnails:
            columns["thumbnail"] = pa.array([points.thumbnails.get(id) for id in points.ids], pa.binary())
        if points.tokens is not None:
            columns[_TOKENS] = arrow.of_tokens(points.tokens)
        about = {"space": points.space, "model": model, "job": self._job}
        self._put(number, pa.table(columns).replace_schema_metadata(about))

    def read(self, number: int) -> Points:
        table = self._table(number)
        ids = table["id"].to_pylist()
        vectors = table["vector"].combine_chunks()
        pictures = table["thumbnail"].to_pylist() if "thumbnail" in table.column_names else []
        tokens = arrow.to_tokens(table[_TOKENS]) if _TOKENS in table.column_names else None
        rows = table.drop_columns([name for name in _NO_PAYLOAD if name in table.column_names]).to_pylist()
        return Points(
            ids=ids,
            vectors=vectors.flatten().to_numpy().reshape(len(ids), vectors.type.list_size),
            payloads=[_known(row) for row in rows],
            space=table.schema.metadata[b"space"].decode(),
            thumbnails={id: picture for id, picture in zip(ids, pictures, strict=False) if picture},
            tokens=tokens,
        )

    def ids_of(self, number: int, items: list[str]) -> list[str]:
        """Ids of the points that a shard holds for these items."""
        table = self._table(number, ["id", "item"])
        found: list[str] = table.filter(_of(table, items))["id"].to_pylist()
        return found

    def remove(self, number: int, items: list[str]) -> int:
        """Write a shard again without these items: how many vectors are left."""
        table = self._table(number)
        left = table.filter(pc.invert(_of(table, items)))
        self._put(number, left)
        return int(left.num_rows)

    def _put(self, number: int, table: pa.Table) -> None:
        content = io.BytesIO()
        parquet.write_table(table, content, compression="zstd")
        self._folder.put(_name(number), content.getvalue())

    def _table(self, number: int, columns: list[str] | None = None) -> pa.Table:
        with self._folder.open(_name(number)) as file:
            return parquet.read_table(file, columns=columns)

    def _names(self, *ends: str) -> list[str]:
        return [name for name in self._folder.names() if re.fullmatch(r"part-\d+\.\w+", name) and name.endswith(ends)]


def _name(number: int) -> str:
    return f"part-{number:05}.parquet"


def _known(row: dict[str, Any]) -> dict[str, Any]:
    """A row, or a struct in it, without its nulls."""
    return {name: _known(it) if isinstance(it, dict) else it for name, it in row.items() if it is not None}


def _of(table: pa.Table, items: list[str]) -> Any:
    return pc.is_in(table["item"], value_set=pa.array(items, pa.string()))
