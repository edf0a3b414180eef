"""Clients that put load on a server: wrk for closed loops, an asyncio client where a request must have a time.

wrk is a C program and costs a fifth of what a Python client does, which decides what is measured where it shares two
cores with the server. It cannot send at a fixed rate, wait as Retry-After says, or keep answers: that is done here.
"""

import asyncio
import json
import math
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from enfold.errors import EnfoldError, MissingExtra

_SCRIPT = Path(__file__).with_name("wrk.lua")
_TIMEOUT_SECONDS = 60
_PRIORITY = -10  # a client of another machine would not wait for a core of the server's


@dataclass(frozen=True)
class Load:
    """What a client saw. Latencies in seconds; those of wrk over all answers, whatever their status."""

    statuses: dict[str, int]
    seconds: float
    p50: float
    p95: float
    p99: float
    client_seconds: float  # CPU of the client
    broken: int = 0  # connections refused, reset, or timed out

    @property
    def good(self) -> int:
        return sum(count for status, count in self.statuses.items() if status.startswith("2"))

    @property
    def per_second(self) -> float:
        """Good answers per second."""
        return self.good / self.seconds

    @property
    def failed(self) -> dict[str, int]:
        """Answers that were none, by status."""
        failed = {status: count for status, count in self.statuses.items() if not status.startswith("2")}
        return failed | ({"broken": self.broken} if self.broken else {})


def wrk(url: str, bodies: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """A closed loop of so many connections over the bodies in turn. Raises MissingExtra without wrk."""
    program = shutil.which("wrk")
    if program is None:
        raise MissingExtra("the load comes from 'wrk', which is not installed: apt-get install wrk")
    parts = urlsplit(url)
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(b"\n".join(bodies) + b"\n")
        file.flush()
        options = [f"-c{connections}", "-t1", f"-d{math.ceil(seconds)}s", f"--timeout={_TIMEOUT_SECONDS}s"]
        host = f"{parts.scheme}://{parts.netloc}"
        words: list[str | Path] = [program, *options, "-s", _SCRIPT, host, "--", file.name, parts.path]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = subprocess.run(words, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = next((line for line in found.stdout.splitlines() if line.startswith("JSON ")), None)
    if line is None:
        raise EnfoldError(f"wrk gave no figures: {(found.stderr or found.stdout).strip()}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Load(**json.loads(line.removeprefix("JSON ")), client_seconds=spent)


@dataclass
class Asked:
    """One request of the asyncio client; times in seconds of time.perf_counter()."""

    due: float  # when it should have been sent
    index: int  # of its body
    sent: float = 0.0
    answered: float | None = None
    status: int = 0  # 0: the connection ended before a whole answer came
    retry_after: float = 0.0
    body: bytes = field(default=b"", repr=False)

    @property
    def latency(self) -> float:
        """From when it should have been sent: a client that was kept from sending does not make a server faster."""
        return (self.answered or math.inf) - self.due


class Connection(asyncio.Protocol):
    """One connection that is kept open: a request out, its answer in."""

    def __init__(self, keep_bodies: bool):
        self._keep_bodies = keep_bodies
        self._buffer, self._length = bytearray(), -1
        self._asked: Asked | None = None
        self._done: asyncio.Future[None] | None = None
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.open = transport, True

    async def ask(self, asked: Asked, request: bytes) -> None:
        """Send the request and fill `asked` in."""
        if not self.open:
            return
        self._asked, self._done = asked, asyncio.get_running_loop().create_future()
        asked.sent = time.perf_counter()
        self._transport.write(request)
        await self._done

    def data_received(self, data: bytes) -> None:
        asked = self._asked
        if asked is None:
            return
        self._buffer += data
        if self._length < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).split(b"\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in head[1:])}
            asked.status = int(head[0].split()[1])
            asked.retry_after = float(headers.get(b"retry-after", 0))
            self._length = end + 4 + int(headers[b"content-length"])
            self.open = headers.get(b"connection", b"").lower() != b"close"
        if len(self._buffer) >= self._length:
            asked.answered = time.perf_counter()
            if self._keep_bodies:
                asked.body = bytes(self._buffer[self._buffer.find(b"\r\n\r\n") + 4 :])
            self._buffer.clear()
            self._length = -1
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._asked is not None and self._asked.answered is None:
            self._asked.status = 0
        self._finish()

    def close(self) -> None:
        self.open = False
        self._transport.close()

    def _finish(self) -> None:
        self._asked = None
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


class Client:
    """The asyncio client of one server: what it sent and what came of it."""

    def __init__(self, url: str, bodies: Sequence[bytes], *, keep_bodies: bool = False):
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
        )
        self._requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._keep_bodies = keep_bodies
        self.asked: list[Asked] = []

    def __len__(self) -> int:
        """Requests that differ."""
        return len(self._requests)

    async def connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._keep_bodies), self._host, self._port
        )
        return connection

    async def closed(
        self,
        clients: int,
        *,
        seconds: float = math.inf,
        requests: float = math.inf,
        pause: Callable[[Asked], float] = lambda asked: 0.0,
    ) -> None:
        """Clients that each send, wait for the answer and send again, until the time or the requests are used up.

        pause   seconds that a client waits after an answer

        A client whose connection is closed opens another; one that cannot gives up.
        """
        deadline = time.perf_counter() + seconds

        async def one() -> None:
            connection: Connection | None = None
            while time.perf_counter() < deadline and len(self.asked) < requests:
                if connection is None or not connection.open:
                    try:
                        connection = await self.connect()
                    except OSError:
                        return
                asked = self._next(time.perf_counter())
                await connection.ask(asked, self._requests[asked.index])
                if (wait := pause(asked)) > 0:
                    await asyncio.sleep(min(wait, max(0.0, deadline - time.perf_counter())))
            if connection is not None:
                connection.close()

        await asyncio.gather(*(one() for _ in range(clients)))

    async def open(self, rate: float, seconds: float) -> None:
        """Requests at random times, `rate` per second, whatever the server does; each on a connection that is free."""
        rng, began = np.random.default_rng(0), time.perf_counter()
        free: list[Connection] = []
        under_way: set[asyncio.Task[None]] = set()

        async def one(asked: Asked) -> None:
            connection = free.pop() if free else None
            if connection is None or not connection.open:
                try:
                    connection = await self.connect()
                except OSError:
                    return
            await connection.ask(asked, self._requests[asked.index])
            if connection.open:
                free.append(connection)

        for due in began + np.cumsum(rng.exponential(1 / rate, math.ceil(rate * seconds))):
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(one(self._next(float(due))))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.wait(under_way, timeout=_TIMEOUT_SECONDS)
        for connection in free:
            connection.close()

    def _next(self, due: float) -> Asked:
        asked = Asked(due, len(self.asked) % len(self._requests))
        self.asked.append(asked)
        return asked


def run(work: Coroutine[Any, Any, None]) -> tuple[float, float]:
    """Let a client work, before the server where the system allows; its seconds, and those of its CPU."""
    with _before_others():
        wall, cpu = time.perf_counter(), time.process_time()
        asyncio.run(work)
        return time.perf_counter() - wall, time.process_time() - cpu


@contextmanager
def _before_others() -> Iterator[None]:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, usual)


def latencies(asked: Sequence[Asked]) -> dict[str, float]:
    """Their median and 99th percentile, in milliseconds."""
    if not asked:
        return {"p50 ms": math.nan, "p99 ms": math.nan}
    found = np.percentile([one.latency for one in asked], (50, 99)) * 1000
    return {"p50 ms": float(found[0]), "p99 ms": float(found[1])}


def statuses(asked: Sequence[Asked]) -> dict[str, int]:
    return {str(status or "broken"): count for status, count in sorted(Counter(one.status for one in asked).items())}
