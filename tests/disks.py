"""A real disk that is full: a small tmpfs, which only root may mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """`path` is its root; `leave` fills all of it but so many KiB, and `empty` makes room again."""

    def __init__(self, path: Path):
        self.path, self._filler = path, path / "filler"

    def leave(self, kib: int) -> None:
        self.empty()
        free = os.statvfs(self.path)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize - kib * 1024, 1))

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextmanager
def small(path: Path, mib: int) -> Iterator[Disk]:
    path.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a disk of {mib} MiB cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
