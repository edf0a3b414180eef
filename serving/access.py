"""What is noted of every answered request, over HTTP and gRPC: counts, times, a line of JSON."""

import json
import logging
import sys
import time

from prometheus_client import Counter, Histogram

from serving.call import CALL
from serving.metrics import child

REQUESTS = Counter("enfold_requests", "Requests by route and status", ["method", "route", "status"])
SECONDS = Histogram("enfold_request_seconds", "From the head of a request to the end of its answer", ["route"])
_log = logging.getLogger("enfold.access")


def to_stderr() -> None:
    """Lines go there, and nowhere else."""
    if not _log.handlers:
        _log.addHandler(logging.StreamHandler(sys.stderr))
        _log.setLevel(logging.INFO)
        _log.propagate = False


def note(request_id: str, method: str, route: str, status: int, seconds: float, *, line: bool) -> None:
    """Of the present request; `line` whether the log shall have it. Inputs are never part of it."""
    child(REQUESTS, method, route, status).inc()
    child(SECONDS, route).observe(seconds)
    if line:
        told: dict[str, str | int | float] = {"request": request_id, "caller": CALL.get().caller}
        told |= {
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "time": round(time.time(), 3),
        }
        _log.info(json.dumps(told))
