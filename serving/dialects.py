"""Errors in the words of whoever asked: a protocol that other clients speak has a shape of its own for them.

Outside of the door, so that also what the door refuses (a key, a size, a full queue) is told in that shape.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from enfold import wire

PROBLEM = b"application/problem+json"
Dialect = Callable[[wire.Problem], tuple[int, dict[str, Any]]]  # its status and body


class Dialects:
    """Around the door.

    dialects   by the first step of a path: {"v1": …}; every other path answers problem+json as it is
    """

    def __init__(self, app: ASGIApp, dialects: Mapping[str, Dialect]):
        self._app, self._dialects = app, dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect = self._dialects.get(scope["path"].strip("/").partition("/")[0]) if scope["type"] == "http" else None
        await self._app(scope, receive, send if dialect is None else _Translated(send, dialect))


class _Translated:
    def __init__(self, send: Send, dialect: Dialect):
        self._send, self._dialect = send, dialect
        self._start: Message | None = None  # of a problem, held back until its body is there
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and (b"content-type", PROBLEM) in message["headers"]:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._tell(self._start)

    async def _tell(self, start: Message) -> None:
        status, told = self._dialect(wire.Problem.model_validate_json(self._body))
        body = orjson.dumps(told)
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"], headers["content-length"] = "application/json", str(len(body))
        await self._send({**start, "status": status, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})
