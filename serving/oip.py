"""The Open Inference Protocol v2 over HTTP, with the binary tensor extension: what KServe's and Triton's clients speak.

A model takes raw items, in a BYTES tensor named as their modality, or the inputs of its encode graph from whoever
prepares them; it gives `out_embedding`, the vectors that /embed gives. gRPC (serving/grpc.py) shares all but the bytes.
"""
# N items, D features

import math
import re
import struct
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from enfold import modalities, wire
from enfold.errors import BadItem, EnfoldError, UnsupportedMedia, WrongUse
from enfold.modalities import Sample
from enfold.model import Model
from serving import openapi
from serving.bodies import parse
from serving.rooms import Rooms, rooms_of

HEADER_LENGTH = "inference-header-content-length"
OUTPUT = "out_embedding"
BYTES = "BYTES"
MOST_AXES = 8
DTYPES = {
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_FROM = {"i": "iu", "u": "iu", "f": "iuf"}  # kind of a dtype -> kinds of numbers that become it

Inputs = dict[str, np.ndarray | list[Any]]  # prepared arrays, or raw items
Axis = Annotated[int, Field(ge=0, strict=True)]


class InputParameters(wire.Record):
    binary_data_size: int | None = Field(None, ge=0, strict=True, description="bytes after the JSON that are its data")


class Tensor(wire.Record):
    name: str
    datatype: str
    shape: list[Axis] = Field(max_length=MOST_AXES)
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


class TensorFacts(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1: any")


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
    asked, tail = _split(request, await request.body())
    inputs: Inputs = {}
    for tensor in asked.inputs:
        if tensor.name in inputs:
            raise WrongUse(f"input '{tensor.name}' comes twice")
        inputs[tensor.name], tail = _read(tensor, tail)
    if len(tail):
        raise BadItem(f"{len(tail):,} bytes follow the last binary input: each says its 'binary_data_size'")
    model, vectors = await run(rooms_of(request), _ref(request), inputs, [one.name for one in asked.outputs])
    binary = asked.outputs[0].parameters.binary_data if asked.outputs else None
    return _answer(model, asked.id, vectors, asked.parameters.get("binary_data_output") if binary is None else binary)


async def run(rooms: Rooms, ref: str, inputs: Inputs, wanted: list[str]) -> tuple[Model, np.ndarray]:
    """The model that `ref` names, and the vectors float32 [N, D] of its inputs."""
    if set(wanted) - {OUTPUT}:
        raise WrongUse(f"outputs {', '.join(wanted)[:200]} were asked for; a model gives {OUTPUT}")
    [name, first], *others = inputs.items()
    model = await rooms.model(ref, len(first))
    if not len(first):
        raise BadItem(f"input '{name}' holds no item")
    if isinstance(first, list) and not others:
        if name not in {entry.modality for entry in model.bundle.manifest.entries.values()}:
            raise _unknown(model, inputs)
        entry = model.entry(modality=name)
        encoded = (await rooms.engine.encode(model, entry, first)).outputs
    else:
        entry, samples = await rooms.engine.run(_prepared, model, inputs)
        batcher = rooms.engine.batcher(model)
        with batcher.admitted(entry, len(samples)) as ticket:
            encoded = await batcher.encode(samples, entry, ticket)
    return model, np.ascontiguousarray(model.vectors(encoded, entry), "<f4")


def server_metadata() -> ServerMetadata:
    return ServerMetadata(name="enfold", version=version("enfold"), extensions=["binary_tensor_data"])


def metadata(model: Model) -> ModelMetadata:
    """Raw items first, then prepared inputs whose name is not that of raw items."""
    manifest = model.bundle.manifest
    kinds = [entry.modality for entry in manifest.entries.values()]
    inputs = {kind: TensorFacts(name=kind, datatype=BYTES, shape=[-1]) for kind in kinds}
    for entry in manifest.entries:
        inputs = {facts.name: facts for facts in _tensors(model, entry)} | inputs
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


# --- tensors --------------------------------------------------------------------------------------------------------


def of_bytes(name: str, datatype: str, shape: list[int], data: memoryview) -> np.ndarray | list[bytes]:
    """A tensor's binary data; of BYTES each element after its length in four bytes. Raises BadItem."""
    if datatype == BYTES:
        return _elements(name, _items(name, shape), data)
    dtype = _dtype(name, datatype)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise BadItem(f"input '{name}' of {datatype} {shape} has {len(data):,} bytes of data; it must fill its shape")
    return np.frombuffer(data, dtype).reshape(shape)


def of_values(name: str, datatype: str, shape: list[int], data: list[Any]) -> np.ndarray | list[Any]:
    """A tensor's data as numbers, or as raw items: bytes, a text, base64 of other modalities. Raises BadItem."""
    if datatype == BYTES:
        items = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in data]
        if len(items) != _items(name, shape) or not all(isinstance(item, str | bytes) for item in items):
            raise BadItem(f"input '{name}' of {BYTES} {shape} has other data than {shape[0]} strings")
        json = modalities.get(name).Json if name in modalities.names() else None
        return [json(**{name: item}) if json and isinstance(item, str) else item for item in items]
    dtype = _dtype(name, datatype)
    try:
        given = np.asarray(data)
    except ValueError:
        raise BadItem(f"input '{name}' has rows of different lengths: pad them") from None
    if given.dtype.kind not in _FROM[dtype.kind] and given.size:
        raise BadItem(f"input '{name}' is {datatype}; its data are no such numbers")
    if given.size != math.prod(shape):
        raise BadItem(f"input '{name}' of shape {shape} has {given.size:,} values; it must fill its shape")
    with np.errstate(over="ignore"):  # what is infinite then is refused with the samples
        values = given.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(values, given):
        raise BadItem(f"input '{name}' is {datatype}; its data hold numbers beyond that")
    return values.reshape(shape)


def _read(tensor: Tensor, tail: memoryview) -> tuple[np.ndarray | list[Any], memoryview]:
    """The tensor, and what is left of the binary data."""
    size = tensor.parameters.binary_data_size
    if size is None:
        if tensor.data is None:
            raise BadItem(f"input '{tensor.name}' has neither 'data' nor 'binary_data_size'")
        return of_values(tensor.name, tensor.datatype, tensor.shape, tensor.data), tail
    if size > len(tail):
        raise BadItem(f"input '{tensor.name}' shall have {size:,} binary bytes; {len(tail):,} are left")
    return of_bytes(tensor.name, tensor.datatype, tensor.shape, tail[:size]), tail[size:]


def _split(request: Request, body: bytes) -> tuple[InferRequest, memoryview]:
    """The JSON and the binary data behind it."""
    length = request.headers.get(HEADER_LENGTH)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMedia("a compressed body is not read here: send it as it is")
    if length is None:
        return parse(InferRequest, body), memoryview(b"")
    if not re.fullmatch(r"[0-9]{1,12}", length) or int(length) > len(body):
        raise BadItem(f"header {HEADER_LENGTH} is {length[:20]!r}; the body has {len(body):,} bytes")
    return parse(InferRequest, body[: int(length)]), memoryview(body)[int(length) :]


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


def _items(name: str, shape: list[int]) -> int:
    if shape[1:] not in ([], [1]) or not shape:
        raise BadItem(f"input '{name}' of {BYTES} has shape {shape}; raw items come as [N] or [N, 1]")
    return shape[0]


def _elements(name: str, count: int, data: memoryview) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    for _ in range(count):
        size = struct.unpack_from("<I", data, at)[0] if at + 4 <= len(data) else len(data)
        at += 4 + size
        if at > len(data):
            raise BadItem(f"input '{name}' ends in the middle of item {len(found)} of {count}")
        found.append(bytes(data[at - size : at]))
    if at != len(data):
        raise BadItem(f"input '{name}' has {len(data) - at:,} bytes after its {count} items")
    return found


def _dtype(name: str, datatype: str) -> np.dtype[Any]:
    if datatype not in DTYPES:
        raise BadItem(f"input '{name}' has datatype '{datatype[:20]}'; known: {BYTES}, {', '.join(DTYPES)}")
    return DTYPES[datatype]


# --- inputs that others prepared ------------------------------------------------------------------------------------


def _prepared(model: Model, inputs: Inputs) -> tuple[str, list[Sample]]:
    """The entry whose encode graph takes these inputs, and a sample for each of their rows. Raises BadItem."""
    for entry, modality in model.modalities.items():
        expected = _tensors(model, entry)
        if {facts.name for facts in expected} == set(inputs):
            arrays = {facts.name: _fitting(facts, inputs[facts.name]) for facts in expected}
            if len({len(values) for values in arrays.values()}) > 1:
                raise BadItem("the inputs have different numbers of rows: each row is one item")
            return entry, modality.prepared(arrays)
    raise _unknown(model, inputs)


def _fitting(facts: TensorFacts, values: np.ndarray | list[Any]) -> np.ndarray:
    if isinstance(values, list):
        raise BadItem(f"input '{facts.name}' is {facts.datatype} {facts.shape}, not {BYTES}")
    fits = len(values.shape) == len(facts.shape) and all(
        want in (-1, have) for want, have in zip(facts.shape, values.shape, strict=True)
    )
    if _NAMES[values.dtype] != facts.datatype or not fits:
        given = f"{_NAMES[values.dtype]} {list(values.shape)}"
        raise BadItem(f"input '{facts.name}' is {facts.datatype} {facts.shape}, not {given}")
    return values


def _unknown(model: Model, inputs: Inputs) -> EnfoldError:
    known = [f"{entry.modality} ({BYTES})" for entry in model.bundle.manifest.entries.values()]
    known += [", ".join(facts.name for facts in _tensors(model, entry)) for entry in model.modalities]
    return WrongUse(f"{model.bundle.ref} takes {' or '.join(known)}, not {', '.join(inputs)[:200]}")


def _tensors(model: Model, entry: str) -> list[TensorFacts]:
    """What the encode graph of an entry takes."""
    own = f"{entry}/{model.size}" if model.size else entry
    return _golden_inputs(model.bundle.path, f"{own}/in/", model.modalities[entry].ragged)


@lru_cache(maxsize=256)
def _golden_inputs(bundle: Path, prefix: str, ragged: bool) -> list[TensorFacts]:
    with np.load(bundle / "golden.npz", allow_pickle=False) as file:
        golden = {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
    return [
        TensorFacts(
            name=name,
            datatype=_NAMES[values.dtype],
            shape=[-1, *(-1 if ragged and axis == 0 else size for axis, size in enumerate(values.shape[1:]))],
        )
        for name, values in golden.items()
    ]


ROUTES = openapi.table_of(router)
