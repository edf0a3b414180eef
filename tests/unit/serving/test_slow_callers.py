"""Callers that say nothing, or a byte now and then: others are answered meanwhile, and they are cut."""

import asyncio
import resource

import pytest

from serving import patience
from tests.unit.serving.conftest import KEY

IDLE = 1000
HEAD = b"POST /embed HTTP/1.1\r\nhost: here\r\nauthorization: Bearer " + KEY.encode() + b"\r\n"


async def _ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the connection ended."""
    return await asyncio.wait_for(reader.read(), 6 * patience.SECONDS)


async def _dripping(port: int, head: bytes, drop: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)

    async def drip() -> None:
        while True:
            await asyncio.sleep(0.5)
            writer.write(drop)

    dripping = asyncio.create_task(drip())
    try:
        return await _ended(reader)
    except ConnectionError:
        return b""
    finally:
        dripping.cancel()
        writer.close()


async def _scene(port: int, ask) -> tuple[list[bytes], list[bytes], int]:
    idle = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(IDLE)))
    body = HEAD + b"content-type: application/json\r\ncontent-length: 100000\r\n\r\n"
    slow = [
        asyncio.create_task(_dripping(port, HEAD, b"x")),  # a head that never ends
        asyncio.create_task(_dripping(port, body, b" ")),
        asyncio.create_task(_dripping(port, body + b"{", b"")),
    ]
    silent = [asyncio.create_task(_ended(reader)) for reader, _ in idle]
    asked = 0
    while not all(task.done() for task in (*silent, *slow)):
        await asyncio.to_thread(ask)
        asked += 1
        await asyncio.sleep(0.1)
    for _, writer in idle:
        writer.close()
    return [task.result() for task in silent], [task.result() for task in slow], asked


def test_a_thousand_idle_and_some_dripping_connections_are_cut_and_keep_nobody_waiting(server, http):
    def ask() -> None:
        assert http.post("/embed", json={"model": "words", "items": [{"text": "red"}]}).status_code == 200

    ask()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a shell's usual 1,024 are fewer than the callers need
    silent, slow, asked = asyncio.run(_scene(int(server.url.rpartition(":")[2]), ask))
    assert asked > 1  # and answered, while they hung on
    assert silent == [b""] * IDLE
    head, drop, nothing = slow
    assert head == b""
    assert drop.startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in drop
    assert nothing.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"expired"' in nothing
    ask()


@pytest.mark.parametrize("pieces", [[b"a" * 1000, b"b" * 10], [b""]])
def test_a_body_that_comes_is_passed_on_whole(pieces):
    messages = [{"type": "http.request", "body": one, "more_body": one is not pieces[-1]} for one in pieces]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def read():
        prompt = patience.prompt(receive)
        return [await prompt() for _ in range(len(pieces) + 1)]

    found = asyncio.run(read())
    assert [one["body"] for one in found[:-1]] == pieces
    assert found[-1] == {"type": "http.disconnect"}
