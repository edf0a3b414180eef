"""Points and layouts as Arrow tables: what travels in bulk and what lies in shards.

points   id string · vector fixed_size_list<float32>[D] · payload string (JSON) · thumbnail binary, may be absent ·
         tokens list<fixed_size_list<float32>[W]>, absent where none are kept
         schema metadata: space, and where it is known model
layout   id string · x float32 · y float32
health   id string · nearest string · likeness float32 · copy_of string? · oddity float32 · agreement float32? ·
         suggested string? · cover int32?, as serving/jobs/health.py finds them
"""
# N points, D dimensions

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from enfold.errors import WrongUse
from serving.index import Points

LAYOUT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
    ]
)
HEALTH = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("nearest", pa.string(), nullable=False),
        pa.field("likeness", pa.float32(), nullable=False),
        pa.field("copy_of", pa.string()),
        pa.field("oddity", pa.float32(), nullable=False),
        pa.field("agreement", pa.float32()),
        pa.field("suggested", pa.string()),
        pa.field("cover", pa.int32()),
    ]
)
NOTES = {"layout": LAYOUT, "health": HEALTH}  # what may be kept beside the points of a collection


_SENT_ROWS, _SENT_BYTES = 1000, 16 * 2**20  # of a table that goes to an index in one piece


def schema(space: str, dimensions: int, model: str = "", tokens: int | None = None) -> pa.Schema:
    fields = [
        ("id", pa.string()),
        ("vector", pa.list_(pa.float32(), dimensions)),
        ("payload", pa.string()),
        ("thumbnail", pa.binary()),
    ]
    fields += [] if tokens is None else [("tokens", pa.list_(pa.list_(pa.float32(), tokens)))]
    return pa.schema(fields, metadata={"space": space, "model": model})


def to_table(points: Points, model: str = "") -> pa.Table:
    dimensions, tokens = points.vectors.shape[1], None
    columns = [
        pa.array(points.ids, pa.string()),
        of_vectors(points.vectors),
        pa.array([orjson.dumps(payload, default=str).decode() for payload in points.payloads], pa.string()),
        pa.array([points.thumbnails.get(id) for id in points.ids], pa.binary()),
    ]
    if points.tokens is not None:
        columns.append(of_tokens(points.tokens))
        tokens = columns[-1].type.value_type.list_size
    return pa.table(columns, schema=schema(points.space, dimensions, model, tokens))


def of_vectors(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """float32 [N, D] as a column."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def of_tokens(tokens: Sequence[np.ndarray]) -> pa.ListArray:
    """float32 [T, W] each, of one or more points, as a column."""
    ends = np.cumsum([0, *map(len, tokens)])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), of_vectors(np.concatenate(tokens)))


def to_tokens(column: pa.ChunkedArray) -> list[np.ndarray]:
    """float32 [T, W] of each row."""
    rows = column.combine_chunks()
    flat = rows.flatten().flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(rows.value_lengths().to_numpy(zero_copy_only=False))[:-1]
    return np.split(flat.reshape(-1, rows.type.value_type.list_size), ends)


def pieces(table: pa.Table) -> Iterator[pa.Table]:
    """A table of points, so many rows at a time as an index takes in one request."""
    rows = max(1, min(_SENT_ROWS, _SENT_BYTES * len(table) // max(table.nbytes, 1)))
    for at in range(0, len(table), rows):
        yield table.slice(at, rows)


def to_points(table: pa.Table) -> Points:
    """Raises WrongUse naming the column that is missing or of another type."""
    ids = _column(table, "id", pa.types.is_string, "string").to_pylist()
    vectors = _vectors(_column(table, "vector", _is_vector, "fixed_size_list<float32>[D]"))
    payloads = [_payload(text) for text in _column(table, "payload", pa.types.is_string, "string of JSON").to_pylist()]
    space = (table.schema.metadata or {}).get(b"space", b"").decode(errors="replace")
    if not space:
        raise WrongUse("the table's schema metadata lacks 'space': say which space the vectors are of")
    thumbnails = {}
    if "thumbnail" in table.column_names:
        pictures = _column(table, "thumbnail", pa.types.is_binary, "binary", nulls=True).to_pylist()
        thumbnails = {id: picture for id, picture in zip(ids, pictures, strict=True) if picture}
    tokens = None
    if "tokens" in table.column_names:
        kept = _column(table, "tokens", _is_tokens, "list<fixed_size_list<float32>[W]>")
        tokens = to_tokens(kept) if len(kept) else []
    return Points(ids, vectors, payloads, space, thumbnails, tokens)


def read_stream(data: bytes) -> pa.Table:
    """The table of an Arrow IPC stream from outside, its offsets checked. Raises WrongUse."""
    try:
        table = pa.ipc.open_stream(data).read_all()
        table.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"the body is no Arrow IPC stream: {error}") from None
    return table


def write_stream(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[bytes]:
    """An Arrow IPC stream, one piece per table."""
    file = io.BytesIO()
    with pa.ipc.new_stream(file, schema) as writer:
        for table in tables:
            writer.write_table(table)
            yield _taken(file)
    yield _taken(file)


def read_file(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def write_file(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


_FITTING = {  # type of a column of notes -> what may come in its place, and how a sentence calls it
    pa.string(): (pa.types.is_string, "string"),
    pa.float32(): (pa.types.is_floating, "float32"),
    pa.int32(): (pa.types.is_integer, "int32"),
}


def checked_notes(kind: str, table: pa.Table) -> pa.Table:
    """The columns of such notes alone. Raises WrongUse."""
    columns = []
    for field in NOTES[kind]:
        column = _column(table, field.name, *_FITTING[field.type], nulls=field.nullable).cast(field.type)
        if pa.types.is_floating(field.type) and not np.isfinite(column.drop_null().to_numpy()).all():
            raise WrongUse(f"a {kind} holds a number that is not finite")
        columns.append(column)
    return pa.table(columns, schema=NOTES[kind])


def with_payloads(notes: pa.Table, payloads: dict[str, dict[str, Any]]) -> pa.Table:
    """Notes on points that still exist, with every payload field as a column that the notes do not have."""
    ids = notes["id"].to_pylist()
    table = notes.filter(pa.array([id in payloads for id in ids], pa.bool_()))
    rows = [payloads[id] for id in ids if id in payloads]
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in notes.column_names:
            table = table.append_column(name, _values([row.get(name) for row in rows]))
    return table


def _column(table: pa.Table, name: str, fits: Any, wanted: str, nulls: bool = False) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise WrongUse(f"the table lacks column '{name}' ({wanted}); it has {', '.join(table.column_names) or 'none'}")
    column = table[name]
    if not fits(column.type):
        raise WrongUse(f"column '{name}' is {column.type}; it must be {wanted}")
    if column.null_count and not nulls:
        raise WrongUse(f"column '{name}' has {column.null_count} nulls")
    return column


def _is_vector(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) and pa.types.is_float32(kind.value_type))


def _is_tokens(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and _is_vector(kind.value_type))


def _vectors(column: pa.ChunkedArray) -> np.ndarray:
    numbers = column.combine_chunks().flatten()
    if numbers.null_count:
        raise WrongUse("column 'vector' has nulls among its numbers")
    flat: np.ndarray = numbers.to_numpy()
    return flat.reshape(len(column), column.type.list_size)


def _payload(text: str) -> dict[str, Any]:
    try:
        payload = orjson.loads(text)
    except orjson.JSONDecodeError:
        payload = None
    if not isinstance(payload, dict):
        raise WrongUse(f"a payload is a JSON object; this one is {text[:60]!r}")
    return payload


def _values(values: list[Any]) -> pa.Array:
    """One column; a field that holds values of several types becomes their JSON."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else json.dumps(value) for value in values])


def _taken(file: io.BytesIO) -> bytes:
    taken = file.getvalue()
    file.seek(0)
    file.truncate()
    return taken
