"""The door of the server: every request gets its id here, and every error leaves as problem+json.

Keys and body sizes are checked before anything is parsed. Knows no route.
"""

import logging
import re
import secrets
import uuid
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders, State
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from enfold import wire
from enfold.errors import EnfoldError, TooLarge, Unauthorized, Unavailable, UnknownName, WrongUse

PROBES = ("/healthz", "/livez", "/readyz")  # answer without a key
PROBLEM = "application/problem+json"
REQUESTS = Counter("enfold_requests", "Requests by route and status", ["method", "route", "status"])
_METHODS = ("GET", "POST", "PUT", "DELETE")  # a caller must not be able to make up further series
_SHOWN = 60  # characters of a value in an error
_NO_ID = re.compile(r"[^A-Za-z0-9._-]")
_log = logging.getLogger(__name__)


class Door:
    """Request ids, keys, body caps and counts, around everything the server answers.

    state   holds `settings` by the time the first request comes
    """

    def __init__(self, app: ASGIApp, state: State):
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _NO_ID.sub("", headers.get("x-request-id", ""))[:64] or uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        try:
            self._check_key(scope["path"], headers)
            await self._app(scope, self._capped(headers, receive), answer)
        except EnfoldError as error:
            await problem(error, request_id)(scope, receive, answer)
        except Exception:  # its problem+json is sent already
            _log.exception("request %s to %s failed", request_id, scope["path"])
        if answer.foreign:
            await problem(_plain_error(answer.status, scope), request_id, answer.status)(scope, receive, answer)
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        REQUESTS.labels(method, route, answer.status).inc()

    def _check_key(self, path: str, headers: Headers) -> None:
        key = self._state.settings.api_key
        if key is None or path in PROBES:
            return
        expected = f"Bearer {key.get_secret_value()}".encode()
        if not secrets.compare_digest(headers.get("authorization", "").encode(), expected):
            raise Unauthorized("this server wants a key: send 'Authorization: Bearer …', or set ENFOLD_API_KEY")

    def _capped(self, headers: Headers, receive: Receive) -> Receive:
        """Receive at most max_body_bytes, whether the length was declared or not."""
        most, received = self._state.settings.max_body_bytes, 0
        too_large = f"the body has more than {most:,} bytes: send less at once, see GET /limits"
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise TooLarge(too_large)

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, too_large)  # the one class that frameworks let through while they read
            return message

        return counted


class _Answer:
    """Sends on, with the request's id; an error that is no problem+json yet (BentoML's own) is held back."""

    def __init__(self, send: Send, request_id: str):
        self._send, self._request_id = send, request_id
        self.status, self.foreign = 500, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._request_id
            self.status = message["status"]
            self.foreign = self.status >= 400 and headers.get("content-type") != PROBLEM
        if not self.foreign:
            await self._send(message)


def guard(app: FastAPI) -> None:
    """Have every error of the app answered as a problem."""

    async def ours(request: Request, error: Any) -> Response:
        return problem(error, request.state.request_id)

    async def invalid(request: Request, error: Any) -> Response:
        return problem(WrongUse(_sentence(error.errors())), request.state.request_id, 422)

    async def http(request: Request, error: Any) -> Response:
        meant = TooLarge(error.detail) if error.status_code == 413 else _plain_error(error.status_code, request.scope)
        return problem(meant, request.state.request_id, error.status_code)

    async def unexpected(request: Request, error: Exception) -> Response:
        request_id = request.state.request_id
        return problem(EnfoldError(f"the server failed; its log has the reason under request {request_id}"), request_id)

    app.add_exception_handler(EnfoldError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


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


def _plain_error(status: int, scope: Scope) -> EnfoldError:
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
