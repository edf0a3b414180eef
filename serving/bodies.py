"""Bodies of requests and answers: JSON, forms, npy and Arrow, each to the same request and from the same vectors."""

import base64
import io
import math
from typing import Any, TypeVar

import numpy as np
import orjson
import pyarrow as pa
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from enfold import modalities, wire
from enfold.errors import BadItem, UnsupportedMedia, WrongUse
from serving.engine import Bad, Encoded
from serving.index import arrow

NPY = "application/x-npy"
B = TypeVar("B", bound=BaseModel)
Asked = TypeVar("Asked", bound=wire.Items)


async def read(request: Request, kind: type[Asked]) -> tuple[Asked, list[Any]]:
    """The request and its items. Of binary bodies the items are what a modality reads, the rest stands in the query.

    JSON             `kind` itself
    form             files under a modality's name are items, in their order; every other field is the request's own
    Arrow stream     a column named as the modality, of binary or utf8
    npy              uint8 [N, H, W, 3]: N images
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body() if media != "multipart/form-data" else b""
    try:
        if media in ("", "application/json"):
            asked = kind.model_validate_json(body)
            return asked, asked.items
        if media == "multipart/form-data":
            asked = kind.model_validate(await _form(request))
            return asked, asked.items
        if media in (wire.ARROW, NPY):
            modality, items = _table(body) if media == wire.ARROW else ("image", _pixels(body))
            fields = dict(request.query_params) | {"items": [{modality: ""}]}
            return kind.model_validate(fields), items
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_context=False)) from None
    raise UnsupportedMedia(
        f"content-type '{media[:60]}' is not read here: send application/json, multipart/form-data, {wire.ARROW} or "
        f"{NPY}"
    )


async def read_json(request: Request, kind: type[B]) -> B:
    """The request, of JSON alone."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in ("", "application/json"):
        raise UnsupportedMedia(f"content-type '{media[:60]}' is not read here: send application/json")
    return parse(kind, await request.body())


def parse(kind: type[B], body: bytes) -> B:
    """JSON as `kind`. Raises what the door tells as a sentence about the first wrong field."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_context=False)) from None


def vectors_as(accept: str, model: str, space: str, vectors: np.ndarray, encoded: Encoded) -> Response:
    """The answer of /embed in what the caller accepts; JSON if it names neither of the others."""
    about = {"x-enfold-model": model, "x-enfold-space": space}
    if NPY in accept:
        file = io.BytesIO()
        np.save(file, vectors, allow_pickle=False)
        return Response(file.getvalue(), headers=about, media_type=NPY)
    if wire.ARROW in accept:
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
        columns = {"item": pa.array(encoded.owners, pa.int32())}
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        table = pa.table(columns).replace_schema_metadata({"model": model, "space": space})
        return Response(b"".join(arrow.write_stream([table], table.schema)), headers=about, media_type=wire.ARROW)
    rows = [
        {"item": owner, "part": part and part.model_dump(exclude_none=True), "vector": vector}
        for owner, part, vector in zip(encoded.owners, encoded.parts, vectors, strict=True)
    ]
    answer = {"model": model, "space": space, "dimensions": vectors.shape[1], "vectors": rows}
    answer["errors"] = errors_of(encoded.bad)
    # Through pydantic a vector would be validated number by number on its way out.
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def errors_of(bad: Bad) -> list[dict[str, Any]]:
    """`wire.ItemError` of each bad item."""
    told = {index: str(error).encode("utf-8", "replace").decode() for index, error in bad.items()}
    return [{"item": index, "code": bad[index].code, "detail": detail} for index, detail in told.items()]


async def _form(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    items = []
    async with request.form() as form:
        for name, value in form.multi_items():
            data = value.encode() if isinstance(value, str) else await value.read()
            if name in modalities.names():
                written = modalities.get(name).written
                items.append(
                    {name: data.decode(errors="surrogateescape") if written else base64.b64encode(data).decode()}
                )
            else:
                fields[name] = _options(data) if name == "options" else data.decode(errors="replace")
    return fields | {"items": items}


def _options(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise WrongUse(f"field 'options' of the form is not JSON: {error}") from None


def _table(body: bytes) -> tuple[str, list[Any]]:
    table = arrow.read_stream(body)
    names = [name for name in table.column_names if name in modalities.names()]
    if len(names) != 1:
        raise WrongUse(
            f"the Arrow stream has columns {', '.join(table.column_names) or 'none'}; one of them must be named as its "
            f"modality: {', '.join(modalities.names())}"
        )
    column = table[names[0]]
    kind = column.type
    if not (pa.types.is_binary(kind) or pa.types.is_string(kind) or pa.types.is_large_binary(kind)):
        raise WrongUse(f"column '{names[0]}' is {kind}; it holds the items' bytes, or texts")
    if not len(column) or column.null_count:
        raise WrongUse(f"column '{names[0]}' has {len(column)} rows, {column.null_count} of them empty: send items")
    return names[0], column.to_pylist()


def _pixels(body: bytes) -> list[np.ndarray]:
    """The images of an npy body, without a copy. A header that promises more than follows allocates nothing."""
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except (ValueError, EOFError, OSError) as error:
        raise BadItem(f"the body is no npy array ({str(error)[:100]})") from None
    data = memoryview(body)[file.tell() :]
    if dtype != np.uint8 or fortran or len(shape) != 4 or shape[3] != 3:
        raise BadItem(f"an npy body is uint8 [N, H, W, 3] in C order, N images; this one is {dtype} {list(shape)}")
    if not shape[0] or min(shape) < 1 or math.prod(shape) != len(data):
        raise BadItem(f"the npy header promises {list(shape)}, {math.prod(shape):,} bytes; {len(data):,} follow")
    return list(np.frombuffer(data, np.uint8).reshape(shape))
