"""The door of the server, outside of everything else: every request gets its id and its deadline here, is counted and
logged, and every error leaves as problem+json.

Keys, body sizes and a queue that is full refuse before a body is read. Knows no route but those that need no key.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from enfold import wire
from enfold.errors import (
    EnfoldError,
    Expired,
    OutOfMemory,
    TooLarge,
    Unavailable,
    UnknownName,
    UnsupportedMedia,
    WrongUse,
)
from serving import access, patience, tracing
from serving.call import CALL, TIMEOUT_HEADER, Call, timeout_of
from serving.drain import Drain
from serving.keys import Keys, scope_of

PROBES = ("/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready")  # answer without a key
_UNTRACED = (*PROBES, "/metrics")
PROBLEM = "application/problem+json"
LEFT = Counter("enfold_callers_left", "Callers who left before their answer")
_METHODS = ("GET", "POST", "PUT", "DELETE")  # a caller must not be able to make up further series
_SHOWN = 60  # characters of a value in an error
_NO_ID = re.compile(r"[^A-Za-z0-9._-]")
_WATCHED_SECONDS = 0.05  # after which it is looked whether the caller is still there: shorter work is not worth it
_log = logging.getLogger(__name__)


class Door:
    """Around everything the server answers.

    hot     routes that are answered here; the app answers all others
    ours    the app whose state holds `settings`, `rooms` and `drain` by the time the first request comes
    work    whether a request of this method and path waits for a model: refused at once when the queues are full
    """

    def __init__(self, app: ASGIApp, hot: Router, ours: FastAPI, work: Callable[[str, str], bool]):
        hot.default = app
        self._app, self._hot, self._ours, self._state, self._work = app, hot, ours, ours.state, work
        access.to_stderr()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _NO_ID.sub("", headers.get("x-request-id", ""))[:64] or uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        scope["app"] = self._ours
        if scope["path"] in _UNTRACED:
            await self._serve(scope, receive, send, headers, request_id)
            return
        with tracing.request(scope["method"], headers, request_id=request_id):
            await self._serve(scope, receive, send, headers, request_id)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str) -> None:
        started, settings = time.monotonic(), self._state.settings
        answer = _Answer(send, request_id, self._state.drain)
        try:
            name = self._admitted(scope, headers)
            if "pickle" in headers.get("content-type", ""):
                raise UnsupportedMedia(
                    "a pickle is read nowhere here: it could run code. Send JSON, a form, Arrow or npy"
                )
            seconds = timeout_of(headers.get(TIMEOUT_HEADER), settings.timeout_seconds)
            caller = name or (scope.get("client") or ("",))[0]
            CALL.set(Call(request_id, caller, started + seconds, partial(self._state.rooms.keys.charge, name)))
            if self._work(scope["method"], scope["path"]):
                self._state.rooms.engine.check()
            async with asyncio.timeout(seconds) as answer.timeout:
                try:
                    await _while_there(self._hot, scope, self._capped(headers, receive), answer)
                finally:
                    answer.timeout = None
        except Exception as error:
            if not answer.started:
                await answer_to(error, request_id, scope)(scope, receive, answer)
            elif not isinstance(error, EnfoldError):
                _log.exception("request %s to %s failed", request_id, scope["path"])
        if answer.foreign:
            await problem(plain_error(answer.status, scope), request_id, answer.status)(scope, receive, answer)
        self._record(scope, request_id, answer.status, time.monotonic() - started)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        line = self._state.settings.access_log and scope["path"] not in PROBES
        tracing.answered(method, route, status)
        access.note(request_id, method, route, status, seconds, line=line)

    def _admitted(self, scope: Scope, headers: Headers) -> str | None:
        """The name of the caller's key, where one is asked for."""
        if scope["path"] in PROBES:
            return None
        keys: Keys = self._state.rooms.keys
        return keys.admit(headers.get("authorization", ""), scope_of(scope["method"], scope["path"]))

    def _capped(self, headers: Headers, receive: Receive) -> Receive:
        """Receive at most max_body_bytes, whether the length was declared or not, and in time."""
        most, received = self._state.settings.max_body_bytes, 0
        too_large = f"the body has more than {most:,} bytes: send less at once, see GET /limits"
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise TooLarge(too_large)

        receive = patience.prompt(receive)

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, too_large)  # the one class that frameworks let through while they read
            return message

        return counted


async def _while_there(app: ASGIApp, scope: Scope, receive: Receive, answer: "_Answer") -> None:
    """Run the app; once its body is read, look now and then whether the caller is still there, and stop if not."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    watch: asyncio.TimerHandle | asyncio.Task[None] | None = None
    left = False

    async def until_left() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        if not answer.started:
            left = True
            task.cancel()  # type: ignore[union-attr]

    def begin() -> None:
        nonlocal watch
        watch = loop.create_task(until_left())

    async def watched() -> Message:
        nonlocal watch
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body") and watch is None:
            watch = loop.call_later(_WATCHED_SECONDS, begin)
        return message

    try:
        await app(scope, watched, answer)
    except asyncio.CancelledError:
        if not left:
            raise
        task.uncancel()  # type: ignore[union-attr]
        LEFT.inc()
        answer.status = 499  # as logs write it; nobody reads the answer
    finally:
        if watch is not None:
            watch.cancel()


class _Answer:
    """Sends on, with the request's id; an error that is no problem+json yet (BentoML's own) is held back."""

    def __init__(self, send: Send, request_id: str, drain: Drain):
        """drain   in which an answer is its connection's last, also one whose request came before"""
        self._send, self._request_id, self._drain = send, request_id, drain
        self.status, self.foreign, self.started = 500, False, False
        self.timeout: asyncio.Timeout | None = None  # of the request; an answer that has begun may take longer

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._request_id
            self.status = message["status"]
            if self._drain.begun or self.status == 408:
                headers["connection"] = "close"
            self.foreign = self.status >= 400 and headers.get("content-type") != PROBLEM
        if not self.foreign:
            if self.timeout is not None and not self.started:
                self.timeout.reschedule(None)
            self.started = True
            await self._send(message)


def guard(app: FastAPI) -> None:
    """Have every error of the app answered as a problem."""

    async def told(request: Request, error: Exception) -> Response:
        return answer_to(error, request.state.request_id, request.scope)

    for kind in (EnfoldError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, told)


def answer_to(error: Exception, request_id: str, scope: Scope) -> Response:
    """The problem that an exception is."""
    if isinstance(error, EnfoldError):
        return problem(error, request_id)
    if isinstance(error, RequestValidationError):
        return problem(WrongUse(_sentence(error.errors())), request_id, 422)
    if isinstance(error, HTTPException):
        told = {408: Expired, 413: TooLarge}.get(error.status_code)
        meant = told(error.detail) if told else plain_error(error.status_code, scope)
        return problem(meant, request_id, error.status_code)
    if isinstance(error, TimeoutError):
        return problem(
            Expired("the answer was not ready by the request's deadline: wait longer, or ask less"), request_id
        )
    if isinstance(error, MemoryError):
        return problem(
            OutOfMemory("there is not the memory for this request: ask again later, or send less at once"), request_id
        )
    _log.error("request %s to %s failed", request_id, scope["path"], exc_info=error)
    return problem(EnfoldError(f"the server failed; its log has the reason under request {request_id}"), request_id)


def problem(error: EnfoldError, request_id: str, status: int | None = None) -> Response:
    """The error as RFC 9457 has it."""
    body = wire.Problem(
        title=error.code.replace("_", " "),
        status=status or error.status,
        detail=str(error).encode("utf-8", "replace").decode(),  # a caller's lone surrogate may stand in the sentence
        code=error.code,
        request_id=request_id,
    )
    wait = {"retry-after": str(error.retry_after_seconds)} if isinstance(error, Unavailable) else None
    return Response(body.model_dump_json(), body.status, wait, PROBLEM)


def plain_error(status: int, scope: Scope) -> EnfoldError:
    """What a status alone says."""
    asked = f"{scope['method']} {scope['path'][:200]}"
    if status in (404, 405):
        return UnknownName(f"there is no {asked}: GET /docs shows every route")
    if status == 503:
        return Unavailable("the server is not ready: its models are loading, or one of them failed its check")
    if status < 500:
        return WrongUse(f"{asked} cannot be read: GET /docs shows what it takes")
    return EnfoldError(f"the server failed on {asked}; its log has the reason")


def _sentence(errors: Any) -> str:
    """The first validation error: field, what is wrong, value seen."""
    first = errors[0]
    field = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    seen = first.get("input")
    if isinstance(seen, bytes):
        return "the body is not read as JSON: send it with content-type application/json"
    if isinstance(seen, dict | list):
        return f"{field}: {first['msg']}"
    shown = repr(seen[:_SHOWN]) + "…" if isinstance(seen, str) and len(seen) > _SHOWN else repr(seen)
    return f"{field}: {first['msg']}, not {shown}"
