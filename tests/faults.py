"""The writes of jobs, and a command that is killed before one of them.

python -m tests.faults WRITE NUMBER WORDS…   kill -9 before the write of that name takes place for the NUMBERth time
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from enfold import cli
from enfold.client import _Api
from serving import reach
from serving.jobs import pipeline, record
from serving.jobs.ledger import Ledger
from serving.jobs.shards import Shards

ON_COLLECTIONS = (
    "create_collection",
    "next_generation",
    "upsert",
    "delete",
    "set_layout",
    "switch",
    "settle",
    "drop_collection",
)
WRITES: list[tuple[Any, str]] = [
    *((home, name) for home in (_Api, reach.Local) for name in ON_COLLECTIONS),
    (Ledger, "_written"),
    (Shards, "_put"),
    (record, "write"),
]
SHARD_ITEMS = 4
NEVER = 1e9  # seconds; a record's progress is written by the clock, its beginning and its end are not


def before_each(tell: Callable[[str], None], setattr: Callable[[Any, str, Any], None] = setattr) -> None:
    """Have `tell` called with a write's name before it takes place; small shards, so that there are several."""

    def watched(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def told(*args: Any, **kwargs: Any) -> Any:
            tell(name.strip("_"))
            return write(*args, **kwargs)

        return told

    for owner, name in WRITES:
        setattr(owner, name, watched(name, getattr(owner, name)))
    setattr(pipeline, "SHARD_ITEMS", SHARD_ITEMS)
    setattr(record, "_WRITE_SECONDS", NEVER)


def main(write: str, number: int) -> None:
    seen = 0

    def tell(name: str) -> None:
        nonlocal seen
        seen += name == write
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    before_each(tell)
    cli.main()


if __name__ == "__main__":
    name, number = sys.argv[1:3]
    del sys.argv[1:3]
    main(name, int(number))
