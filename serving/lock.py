"""One process at a time: a file lock that says who holds it, and that the system frees when its process dies."""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, TextIO

from enfold.errors import Conflict

_TRIES, _TRY_SECONDS = 10, 0.02  # whoever asks for the holder has the lock for a moment


def hold(path: Path, what: str, **facts: Any) -> TextIO:
    """Take the lock until the returned file is closed. Raises Conflict naming its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    if not any(_taken(file) for _ in range(_TRIES)):
        file.close()
        raise Conflict(f"{what} is in use by {_named(_facts(path))}: wait for it or stop it")
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), **facts}))
    file.flush()
    return file


def holder(path: Path) -> dict[str, Any] | None:
    """What the holding process says of itself, {} if it says nothing yet; None when the lock is free."""
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _facts(path)
    return None


def _taken(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(_TRY_SECONDS)
        return False
    return True


def _facts(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except ValueError:  # the holder is about to write
        return {}
    return found


def _named(facts: dict[str, Any]) -> str:
    where = f" at {facts['url']}" if "url" in facts else ""
    return f"process {facts.get('pid', 'unknown')}{where}"
