"""Damaged files of every modality, bundles and recipes are read or refused in a sentence: nothing crashes, hangs or
swells.

FUZZ is how many of each (`make fuzz COUNT=2000`). `deep` is the share that was not refused at the first look.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import tally, targets
from tests.fuzz.mutants import HANG_SECONDS

COUNT = int(os.environ.get("FUZZ", "500"))
MOST_MIB = 2048  # of the reading process, libraries included
SLOWEST_SECONDS = 5


@pytest.mark.slow
@pytest.mark.parametrize("target", targets.names())
def test_damaged_copies(target: str, tmp_path: Path):
    progress, first, crashes = tmp_path / "progress", 0, []
    while first < COUNT:
        words = [target, str(COUNT), str(first), str(progress)]
        done = subprocess.run([sys.executable, "-m", "tests.fuzz.mutants", *words], capture_output=True, text=True)
        if done.returncode == 0:
            break
        number = int(progress.read_text())
        crashes.append((number, done.returncode, done.stderr[-2000:]))
        assert len(crashes) < 5, crashes
        first = number + 1
    assert not crashes, f"a mutant ended the process, or took more than {HANG_SECONDS} s: {crashes}"
    told = json.loads(done.stdout)
    tally.tell(target, mutants=COUNT, **told | {"wrong": len(told["wrong"])})
    assert told["wrong"] == []
    assert told["peak_mib"] < MOST_MIB
    assert told["slowest_seconds"] < SLOWEST_SECONDS
