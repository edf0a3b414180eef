"""Room on the disk for the embedded engine, asked for before it writes.

The engine writes through mapped memory, and the system ends a process whose mapped file finds no room any more: no
error could be caught then, and a server would be gone with all that it answers.
"""

import shutil
from pathlib import Path

from enfold.errors import Unavailable

MIB = 64  # a segment of its write-ahead log, and a page of payloads, which it maps at once


def check_room(folder: Path, more: int = 0) -> None:
    """Raises Unavailable where the disk has no room for the engine's next files and `more` bytes."""
    free, needed = shutil.disk_usage(folder).free, MIB * 2**20 + more
    if free < needed:
        raise Unavailable(
            f"the disk of {folder} has {free / 2**20:,.0f} MiB left, and the index wants {needed / 2**20:,.0f} to "
            "write safely: make room, then the same again goes on"
        )
