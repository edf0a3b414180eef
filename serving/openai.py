"""The embeddings API of OpenAI: whatever is written for it asks here with another base URL.

Beyond texts, an input may be a data URI (`data:image/png;base64,…`) of a modality that the model takes.
"""

import base64
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter
from pydantic import BaseModel, Discriminator, Field, Tag
from starlette.requests import Request
from starlette.responses import Response

from enfold import modalities, wire
from enfold.errors import BadItem, UnknownName, WrongUse
from enfold.modalities.text import Text
from enfold.model import Model
from enfold.settings import MOST_ITEMS
from serving import openapi
from serving.bodies import read_json
from serving.rooms import rooms_of

_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,")
_CODES = {"unauthorized": "invalid_api_key", "busy": "rate_limit_exceeded"}  # as clients know them
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}

Token = Annotated[int, Field(strict=True)]


def _kind(value: Any) -> str:
    """The discriminator: by the first element, where there is one."""
    if isinstance(value, str):
        return "text"
    first = value[0] if isinstance(value, list) and value else None
    return {str: "texts", int: "tokens", list: "lists of tokens"}.get(type(first), "")


Input = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Field(max_length=MOST_ITEMS), Tag("texts")]
    | Annotated[list[Token], Tag("tokens")]
    | Annotated[list[list[Token]], Field(max_length=MOST_ITEMS), Tag("lists of tokens")],
    Discriminator(
        _kind,
        custom_error_type="not_an_input",
        custom_error_message="send a string, a list of strings, a list of token ids or a list of such lists, not empty",
    ),
]


class EmbeddingsRequest(wire.Record):
    model: str = Field(description="bundle name, @version or @alias")
    input: Input
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: of little-endian float32")
    dimensions: int | None = Field(None, description="the first so many, where the model was trained for that")
    user: str | None = Field(None, description="not looked at")


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    prompt_tokens: int = Field(description="tokens of texts; other items count as one or as what they cost")
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str = Field(description="bundle as name@version")
    usage: Usage


class Listed(BaseModel):
    id: str = Field(description="bundle as name@version")
    object: Literal["model"] = "model"
    created: int = Field(description="seconds since 1970")
    owned_by: str = "enfold"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Listed]


class ModelNotFound(UnknownName):
    code = "model_not_found"


router = APIRouter(tags=["OpenAI"])


@router.post("/v1/embeddings", response_model=EmbeddingsResponse, openapi_extra=openapi.body(EmbeddingsRequest))
async def embeddings(request: Request) -> Response:
    """Vectors of texts, of token ids of the model's own tokenizer, or of data URIs."""
    rooms, asked = rooms_of(request), await read_json(request, EmbeddingsRequest)
    one = isinstance(asked.input, str) or isinstance(asked.input[0], int)
    inputs: list[Any] = [asked.input] if one else asked.input  # type: ignore[assignment]
    try:
        model = await rooms.model(asked.model, len(inputs))
    except UnknownName as error:
        raise ModelNotFound(str(error)) from None
    if isinstance(inputs[0], str) and not any(value.startswith("data:") for value in inputs):
        modality, items = "text", inputs
    else:
        modality, items = await rooms.engine.run(_read, model, inputs)
    entry = model.entry(modality=modality)
    encoded = await rooms.engine.encode(model, entry, items)
    vectors = model.vectors(encoded.outputs, entry)
    if asked.dimensions is not None:
        vectors, _ = model.shorter(vectors, entry, asked.dimensions)
    rows: Any = np.ascontiguousarray(vectors, "<f4")
    if asked.encoding_format == "base64":
        rows = [base64.b64encode(row).decode() for row in rows]
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
        "model": model.bundle.ref,
        "usage": {"prompt_tokens": encoded.cost, "total_tokens": encoded.cost},
    }
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


@router.get("/v1/models", response_model=ModelList)
async def models(request: Request) -> Response:
    """Every loaded bundle."""
    found = ModelList(data=[_listed(model) for model in rooms_of(request).models.all()])
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/v1/models/{id}", response_model=Listed, openapi_extra=openapi.in_path("id"))
async def model(request: Request) -> Response:
    """One loaded bundle, by name, name@version or name@alias."""
    try:
        found = rooms_of(request).models.select(request.path_params["id"])
    except UnknownName as error:
        raise ModelNotFound(str(error)) from None
    return Response(_listed(found).model_dump_json(), media_type="application/json")


def error(problem: wire.Problem) -> tuple[int, dict[str, Any]]:
    """A problem in OpenAI's shape; what cannot be read is 400 there."""
    status = 400 if problem.status == 422 else problem.status
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    field = re.split(r"[.:]", problem.detail, maxsplit=1)[0]
    told = {
        "message": problem.detail,
        "type": kind,
        "param": field if field in EmbeddingsRequest.model_fields else None,
        "code": _CODES.get(problem.code, problem.code),
    }
    return status, {"error": told}


def _read(model: Model, inputs: list[Any]) -> tuple[str, list[Any]]:
    """Modality and raw items."""
    if isinstance(inputs[0], list):
        modality = model.modalities[model.entry(modality="text")]
        assert isinstance(modality, Text)
        return "text", [modality.of_tokens(ids) for ids in inputs]
    among = [modality.name for modality in model.modalities.values()]
    found = [_data(value, among) or ("text", value) for value in inputs]
    kinds = sorted({modality for modality, _ in found})
    if len(kinds) > 1:
        raise WrongUse(f"input: the items of one request are of one modality; these are {' and '.join(kinds)}")
    return kinds[0], [item for _, item in found]


def _data(value: str, among: Collection[str]) -> tuple[str, bytes] | None:
    """Modality and bytes of a data URI; None for a string that is a text. Raises BadItem."""
    head = _DATA_URI.match(value)
    if head is None:
        return None
    modality = modalities.of_media_type(head[1].lower(), among) or modalities.of_media_type(head[1].lower())
    if modality is None:
        raise BadItem(f"input: no modality reads {head[1]} files")
    try:
        return modality, base64.b64decode(value[head.end() :], validate=True)
    except ValueError:  # binascii's, or a letter beyond ASCII
        raise BadItem(f"input: what follows '{head[0]}' is not base64") from None


def _listed(model: Model) -> Listed:
    return Listed(id=model.bundle.ref, created=int(model.bundle.manifest.created.timestamp()))


ROUTES = openapi.table_of(router)
