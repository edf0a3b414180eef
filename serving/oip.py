"""The Open Inference Protocol v2 over HTTP, with the binary tensor extension: what KServe's and Triton's clients speak.

A model takes raw items, in a BYTES tensor named as their modality (as the entry, where several take that), or the
inputs of its encode graph from whoever prepares them; it gives `out_embedding`, the vectors that /embed gives. gRPC
(serving/grpc.py) shares all but the bytes.
"""
# N items, D features

import re
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from enfold import wire
from enfold.errors import BadItem, UnsupportedMedia, WrongUse
from enfold.model import Model
from serving import openapi, tensors
from serving.bodies import parse
from serving.rooms import Rooms, rooms_of
from serving.tensors import BYTES, MOST_AXES, Inputs, TensorFacts

_LIGHT_BYTES = 2**16  # up to here, handing a body to a thread takes longer than reading it
HEADER_LENGTH = "inference-header-content-length"
OUTPUT = "out_embedding"
Axis = Annotated[int, Field(ge=1, strict=True)]


class InputParameters(wire.Record):
    binary_data_size: int | None = Field(None, ge=0, strict=True, description="bytes after the JSON that are its data")


class Tensor(wire.Record):
    name: str
    datatype: str
    shape: list[Axis] = Field(min_length=1, max_length=MOST_AXES)
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = Field(None, description="row-major, flat or nested; none where it is binary")


class OutputParameters(wire.Record):
    binary_data: bool | None = None


class Wanted(wire.Record):
    name: str
    parameters: OutputParameters = OutputParameters()


class InferRequest(wire.Record):
    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[Tensor] = Field(min_length=1)
    outputs: list[Wanted] = []


class InferResponse(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Tensor]


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


# --- the server -----------------------------------------------------------------------------------------------------

router = APIRouter(tags=["Open Inference Protocol"])


@router.get("/v2", response_model=ServerMetadata)
async def server(request: Request) -> Response:
    """Name, version and extensions of the server."""
    return _json(server_metadata().model_dump())


@router.get("/v2/health/live")
async def live(request: Request) -> Response:
    """Whether the process lives."""
    return _json({"live": True})


@router.get("/v2/health/ready")
async def ready(request: Request) -> Response:
    """Whether every model is loaded and passed its check."""
    rooms_of(request).models.all()
    return _json({"ready": True})


@router.post("/v2/repository/index")
async def index(request: Request) -> Response:
    """Every loaded bundle."""
    found = [model.bundle.manifest for model in rooms_of(request).models.all()]
    return _json([{"name": one.name, "version": str(one.version), "state": "READY", "reason": ""} for one in found])


# --- a model --------------------------------------------------------------------------------------------------------


@router.get("/v2/models/{name}", response_model=ModelMetadata, openapi_extra=openapi.in_path("name"))
@router.get(
    "/v2/models/{name}/versions/{version}",
    response_model=ModelMetadata,
    openapi_extra=openapi.in_path("name", "version"),
)
async def about(request: Request) -> Response:
    """Tensors that a model takes and gives."""
    rooms = rooms_of(request)
    return _json((await rooms.engine.run(metadata, rooms.models.select(_ref(request)))).model_dump())


@router.get("/v2/models/{name}/ready", openapi_extra=openapi.in_path("name"))
@router.get("/v2/models/{name}/versions/{version}/ready", openapi_extra=openapi.in_path("name", "version"))
async def model_ready(request: Request) -> Response:
    """Whether a model is loaded and passed its check."""
    model = rooms_of(request).models.select(_ref(request))
    return _json({"name": model.bundle.manifest.name, "ready": True})


@router.post(
    "/v2/models/{name}/infer",
    response_model=InferResponse,
    openapi_extra=openapi.body(InferRequest) | openapi.in_path("name"),
)
@router.post(
    "/v2/models/{name}/versions/{version}/infer",
    response_model=InferResponse,
    openapi_extra=openapi.body(InferRequest) | openapi.in_path("name", "version"),
)
async def infer(request: Request) -> Response:
    """Vectors of raw items or of prepared inputs, as JSON or binary tensors."""
    rooms, body = rooms_of(request), await request.body()
    if len(body) < _LIGHT_BYTES:
        asked, inputs = _read(request.headers, body)
    else:
        asked, inputs = await rooms.engine.run(_read, request.headers, body)
    model, vectors = await run(rooms, _ref(request), inputs, [one.name for one in asked.outputs])
    binary = asked.outputs[0].parameters.binary_data if asked.outputs else None
    return _answer(model, asked.id, vectors, asked.parameters.get("binary_data_output") if binary is None else binary)


async def run(rooms: Rooms, ref: str, inputs: Inputs, wanted: list[str]) -> tuple[Model, np.ndarray]:
    """The model that `ref` names, and the vectors float32 [N, D] of its inputs."""
    if set(wanted) - {OUTPUT}:
        raise WrongUse(f"outputs {', '.join(wanted)[:200]} were asked for; a model gives {OUTPUT}")
    [name, first], *others = inputs.items()
    model = await rooms.model(ref, len(first))
    if isinstance(first, list) and not others:
        if (entry := tensors.raw(model).get(name, "")) == "":
            raise tensors.unknown(model, inputs)
        kind = model.modalities[entry]  # a text names no file here: it is the item as JSON has it
        items = [kind.Json(**{kind.name: item}) if isinstance(item, str) else item for item in first]
        encoded = (await rooms.engine.encode(model, entry, items)).outputs
    else:
        entry, samples = await rooms.engine.run(tensors.prepared, model, inputs)
        batcher = rooms.engine.batcher(model)
        with batcher.admitted(entry, len(samples)) as ticket:
            encoded = await batcher.encode(samples, entry, ticket)
    return model, np.ascontiguousarray(model.vectors(encoded, entry), "<f4")


def server_metadata() -> ServerMetadata:
    return ServerMetadata(name="enfold", version=version("enfold"), extensions=["binary_tensor_data"])


def metadata(model: Model) -> ModelMetadata:
    """Raw items first, then prepared inputs whose name is not that of raw items."""
    manifest = model.bundle.manifest
    inputs = {name: TensorFacts(name=name, datatype=BYTES, shape=[-1]) for name in tensors.raw(model)}
    for entry in manifest.entries:
        inputs |= {facts.name: facts for facts in tensors.taken(model, entry) if facts.name not in inputs}
    widths = {model.facts(entry).dimensions for entry in manifest.entries}
    width = widths.pop() if len(widths) == 1 else -1
    return ModelMetadata(
        name=manifest.name,
        versions=[str(manifest.version)],
        platform="enfold_onnx",
        inputs=list(inputs.values()),
        outputs=[TensorFacts(name=OUTPUT, datatype="FP32", shape=[-1, width])],
    )


def error(problem: wire.Problem) -> tuple[int, dict[str, Any]]:
    """A problem in the protocol's shape."""
    return problem.status, {"error": problem.detail}


def _read(headers: Headers, body: bytes) -> tuple[InferRequest, Inputs]:
    """The request and its inputs: each as JSON, or binary behind the JSON in their order."""
    length = headers.get(HEADER_LENGTH, str(len(body)))
    if headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("a compressed body is not read here: send it as it is")
    if not re.fullmatch(r"[0-9]{1,12}", length) or int(length) > len(body):
        raise BadItem(f"header {HEADER_LENGTH} is {length[:20]!r}; the body has {len(body):,} bytes")
    asked, tail = parse(InferRequest, body[: int(length)]), memoryview(body)[int(length) :]
    inputs: Inputs = {}
    for tensor in asked.inputs:
        name, size = tensor.name, tensor.parameters.binary_data_size
        if name in inputs:
            raise WrongUse(f"input '{name}' comes twice")
        if size is not None:
            if size > len(tail):
                raise BadItem(f"input '{name}' shall have {size:,} binary bytes; {len(tail):,} are left")
            inputs[name] = tensors.of_bytes(name, tensor.datatype, tensor.shape, tail[:size])
            tail = tail[size:]
        elif tensor.data is not None:
            inputs[name] = tensors.of_values(name, tensor.datatype, tensor.shape, tensor.data)
        else:
            raise BadItem(f"input '{name}' has neither 'data' nor 'binary_data_size'")
    if len(tail):
        raise BadItem(f"{len(tail):,} bytes follow the last binary input: each says its 'binary_data_size'")
    return asked, inputs


def _answer(model: Model, id: str | None, vectors: np.ndarray, binary: Any) -> Response:
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": vectors.shape}
    output |= {"parameters": {"binary_data_size": vectors.nbytes}} if binary else {"data": vectors.ravel()}
    manifest = model.bundle.manifest
    about = {"model_name": manifest.name, "model_version": str(manifest.version), "outputs": [output]}
    head = orjson.dumps(about | ({} if id is None else {"id": id}), option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return Response(head, media_type="application/json")
    headers = {HEADER_LENGTH: str(len(head))}
    return Response(head + vectors.tobytes(), headers=headers, media_type="application/octet-stream")


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _ref(request: Request) -> str:
    return "@".join(request.path_params.values())


ROUTES = openapi.table_of(router)
