"""The Open Inference Protocol v2 over gRPC, on the server's own event loop and in front of the same queues as HTTP.

Off unless ENFOLD_GRPC_PORT says where. The address is that of HTTP: loopback unless a key is set.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from enfold.errors import BadItem, EnfoldError, Expired, UnknownName, WrongUse
from serving import access, oip, tensors, tracing
from serving.call import CALL, Call
from serving.rooms import Rooms

_log = logging.getLogger(__name__)
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # of an error's HTTP status; what is not here is the caller's: INVALID_ARGUMENT
_CONTENTS = {"INT64": "int64_contents", "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents"}
_CONTENTS |= dict.fromkeys(["INT8", "INT16", "INT32"], "int_contents") | {tensors.BYTES: "bytes_contents"}
PROBES = ("ServerLive", "ServerReady")  # answer without a key
_SERVICE = "inference.GRPCInferenceService"
_CONTENTS |= dict.fromkeys(["UINT8", "UINT16", "UINT32"], "uint_contents")


async def listen(rooms: Rooms) -> grpc.aio.Server:
    """A server that answers until it is stopped."""
    settings = rooms.settings
    sizes = [("grpc.max_receive_message_length", settings.max_body_bytes), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=[*sizes, ("grpc.so_reuseport", 0)])
    stubs.add_GRPCInferenceServiceServicer_to_server(Servicer(rooms), server)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    server.add_insecure_port(f"{host}:{settings.grpc_port}")
    await server.start()
    return server


def _answered(method: Callable[..., Awaitable[Any]]) -> Any:
    """The method behind key and deadline, its errors as status codes."""

    @wraps(method)
    async def answered(self: "Servicer", request: Any, context: Any) -> Any:
        started = time.monotonic()
        call = Call(uuid.uuid4().hex, context.peer().rpartition(":")[0], self.deadline(context))
        CALL.set(call)
        try:
            if name := self.admitted(method.__name__, context):
                call = replace(call, caller=name, charge=partial(self._rooms.keys.charge, name))
                CALL.set(call)
            async with asyncio.timeout(call.seconds_left):
                with tracing.request(method.__name__, dict(context.invocation_metadata()), request_id=call.id):
                    answer = await method(self, request)
            self.note(method.__name__, call, 200, started)
            return answer
        except TimeoutError:
            error: EnfoldError = Expired("the answer was not ready by the request's deadline: wait longer, or ask less")
        except EnfoldError as known:
            error = known
        except Exception:
            _log.exception("request %s to %s failed", call.id, method.__name__)
            error = EnfoldError(f"the server failed; its log has the reason under request {call.id}")
        self.note(method.__name__, call, error.status, started)
        await context.abort(_CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT), str(error))

    return answered


class Servicer(stubs.GRPCInferenceServiceServicer):
    def __init__(self, rooms: Rooms):
        self._rooms = rooms

    @_answered
    async def ServerLive(self, request: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    @_answered
    async def ServerReady(self, request: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._rooms.models.ready)

    @_answered
    async def ModelReady(self, request: Any) -> Any:
        try:
            self._rooms.models.select(_ref(request.name, request.version))
        except UnknownName:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    @_answered
    async def ServerMetadata(self, request: Any) -> Any:
        return pb.ServerMetadataResponse(**oip.server_metadata().model_dump())

    @_answered
    async def ModelMetadata(self, request: Any) -> Any:
        model = self._rooms.models.select(_ref(request.name, request.version))
        return pb.ModelMetadataResponse(**(await self._rooms.engine.run(oip.metadata, model)).model_dump())

    @_answered
    async def ModelInfer(self, request: Any) -> Any:
        ref, wanted = _ref(request.model_name, request.model_version), [output.name for output in request.outputs]
        model, vectors = await oip.run(self._rooms, ref, _inputs(request), wanted)
        return pb.ModelInferResponse(
            model_name=model.bundle.manifest.name,
            model_version=str(model.bundle.manifest.version),
            id=request.id,
            outputs=[{"name": oip.OUTPUT, "datatype": "FP32", "shape": vectors.shape}],
            raw_output_contents=[vectors.tobytes()],
        )

    def note(self, method: str, call: Call, status: int, started: float) -> None:
        line = self._rooms.settings.access_log and method not in PROBES
        access.note(call.id, "gRPC", f"/{_SERVICE}/{method}", status, time.monotonic() - started, line=line)

    def admitted(self, method: str, context: Any) -> str | None:
        """The name of the caller's key, where one is asked for: it comes as metadata, 'authorization: Bearer …'."""
        if method in PROBES:
            return None
        return self._rooms.keys.admit(dict(context.invocation_metadata()).get("authorization", ""), "read")

    def deadline(self, context: Any) -> float:
        """Of time.monotonic(): the caller's, or as long as a request over HTTP may take."""
        left = context.time_remaining()
        return time.monotonic() + min(math.inf if left is None else left, self._rooms.settings.timeout_seconds)


def _ref(name: str, version: str) -> str:
    return f"{name}@{version}" if version else name


def _inputs(request: Any) -> tensors.Inputs:
    raw, found = request.raw_input_contents, {}
    if not request.inputs or (raw and len(raw) != len(request.inputs)):
        raise BadItem(f"{len(request.inputs)} inputs come with {len(raw)} raw contents: send one of each, or none raw")
    for index, tensor in enumerate(request.inputs):
        name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
        if name in found:
            raise WrongUse(f"input '{name}' comes twice")
        if min(shape, default=0) < 1 or len(shape) > tensors.MOST_AXES:
            raise BadItem(f"input '{name}' has shape {shape}; 1 to {tensors.MOST_AXES} axes of 1 or more are expected")
        if raw:
            found[name] = tensors.of_bytes(name, datatype, shape, memoryview(raw[index]))
        elif datatype in _CONTENTS:
            found[name] = tensors.of_values(name, datatype, shape, list(getattr(tensor.contents, _CONTENTS[datatype])))
        else:
            raise BadItem(f"input '{name}' is {datatype[:20]}: send it as raw contents")
    return found
