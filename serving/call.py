"""One request on its way through the server: who asks, and until when the answer is of use.

The door sets it; the batcher reads it wherever the request has come to.
"""

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from enfold.errors import WrongUse

TIMEOUT_HEADER = "enfold-timeout"
_LONGEST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Call:
    id: str = ""
    caller: str = ""  # whom fairness counts as one: an address
    deadline: float = math.inf  # of time.monotonic()
    charge: Callable[[float], None] = lambda seconds: None  # told of the work of a model that it took

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()


CALL: ContextVar[Call] = ContextVar("call", default=Call())  # noqa: B039  # it is frozen


def timeout_of(header: str | None, default: float) -> float:
    """Seconds that the caller waits for an answer. Raises WrongUse for what is no positive number."""
    if header is None:
        return default
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise WrongUse(
            f"header '{TIMEOUT_HEADER}' is {header[:40]!r}: send the seconds you wait for the answer, more than 0 and "
            f"at most {_LONGEST_SECONDS:.0f}"
        )
    return seconds
