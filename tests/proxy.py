"""A network that fails, on loopback: a proxy between a client and a server that delays, drops, refuses or swallows."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Fault = Literal["none", "refuse", "drop", "delay", "blackhole"]
_DROPPED_AFTER = 20  # bytes of an answer, in the middle of its first line
_DELAY_SECONDS = 0.3


class Proxy:
    """Forwards to a port. `fault` holds for what is sent from now on; `seen` counts connections.

    refuse      closed as soon as it is made
    drop        closed in the middle of the answer
    delay       every piece of an answer a while later
    blackhole   read, and never answered
    """

    def __init__(self, to: int):
        self._to, self.port, self.seen = to, 0, 0
        self.fault: Fault = "none"
        self.left: int | None = None  # connections that the fault still meets; None: all

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen += 1
        with suppress(OSError):
            if self._strikes("refuse"):
                writer.transport.abort()
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer, answers=True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        with suppress(OSError):
            while piece := await reader.read(2**16):
                if answers and self._strikes("blackhole"):
                    continue
                if answers and self._strikes("drop"):
                    writer.write(piece[:_DROPPED_AFTER])
                    await writer.drain()
                    break
                if answers and self._strikes("delay"):
                    await asyncio.sleep(_DELAY_SECONDS)
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()

    def _strikes(self, fault: Fault) -> bool:
        if self.fault != fault or self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        return True


@contextmanager
def between(to: int) -> Iterator[Proxy]:
    """A proxy in front of the server at port `to`, on a loop of its own."""
    proxy, loop = Proxy(to), asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(proxy._met, "127.0.0.1", 0))
    proxy.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
