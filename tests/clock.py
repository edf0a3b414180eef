"""A wall clock that jumps: libfaketime around a process and whatever it starts, told by a file how far it is off.

Monotonic clocks and times of files stay as they are, as on a machine whose clock is set.
"""

from pathlib import Path

import pytest

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Clock:
    """`settings` are the environment of a process that lives by it; `jump` sets it so far off, as in "+1d"."""

    def __init__(self, file: Path):
        if not _LIBRARIES:
            pytest.skip("libfaketime is not installed: apt-get install faketime")
        self._file = file
        self.jump("+0")
        self.settings = {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, off: str) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(off + "\n")
        draft.replace(self._file)
