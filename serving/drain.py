"""The end of a server under load: whoever was let in is answered, and nobody is let in who would not be.

uvicorn alone closes every connection that is idle at the moment of SIGTERM, on which a caller may just be sending; and
the listening socket stays open in BentoML's supervisor, which accepts nobody. So for a moment answers say that their
connection ends, then the socket stops listening for all that hold it, and only then uvicorn ends.
"""

import asyncio
import os
import signal
import socket
from typing import Any

_SECONDS = 0.5


class Drain:
    """`begun` from SIGTERM on."""

    def __init__(self) -> None:
        self.begun = False

    def arm(self) -> None:
        """Take SIGTERM before uvicorn does. On the main thread, with the event loop running."""
        end: Any = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def begin(number: int, frame: Any) -> None:
            self.begun = True
            loop.call_soon_threadsafe(loop.call_later, _SECONDS, last, number)

        def last(number: int) -> None:
            for server in end.__self__.servers:  # the handler is a method of uvicorn's server
                for listening in server.sockets:
                    with socket.socket(fileno=os.dup(listening.fileno())) as own:
                        own.shutdown(socket.SHUT_RDWR)
            loop.call_later(_SECONDS, end, number, None)  # connections that were just accepted send their request

        signal.signal(signal.SIGTERM, begin)
