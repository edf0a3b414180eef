"""How long callers may take to say what they want: a head or a piece of a body that does not come ends the connection.

uvicorn waits for both for ever, so that a few thousand connections which say nothing, or a byte now and then, would
take every file that a server may open.
"""

import asyncio
import time
from typing import Any
from weakref import WeakKeyDictionary

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

SECONDS = 10.0  # for a head, and for each piece of a body
LEAST_BYTES = 1000  # of a body in a second, on the average, once it has taken so long
_LOOK_SECONDS = 1.0


async def close_silent(connections: set[Any]) -> None:
    """Close, from now on, what has waited too long for the head of a request.

    connections   of a running uvicorn: its protocols
    """
    since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        now = time.monotonic()
        for one in list(connections):
            answered = one.cycle is None or one.cycle.response_complete
            if not answered or one.timeout_keep_alive_task is not None:  # at work, or idle, which uvicorn itself ends
                since.pop(one, None)
            elif now - since.setdefault(one, now) > SECONDS:
                one.transport.close()


def prompt(receive: Receive) -> Receive:
    """Receive a body that keeps coming. Raises HTTPException 408 for one that does not."""
    began, received, whole = time.monotonic(), 0, False

    async def received_in_time() -> Message:
        nonlocal received, whole
        if whole:  # whether the caller is still there may be asked for as long as it takes
            return await receive()
        try:
            async with asyncio.timeout(SECONDS):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"nothing more of the body came in {SECONDS:g} s: send it in one go") from None
        received, whole = received + len(message.get("body", b"")), not message.get("more_body", False)
        late = time.monotonic() - began - SECONDS
        if not whole and received < LEAST_BYTES * late:
            raise HTTPException(408, f"the body came too slowly: at least {LEAST_BYTES:,} bytes a second are expected")
        return message

    return received_in_time
