"""Reads damaged copies and tells what became of them: `python -m tests.fuzz.mutants image 2000 0 FILE`.

The number of each is written down before it is read: whoever starts this again after a crash goes on behind it.
"""

import faulthandler
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.fuzz import targets

HANG_SECONDS = 30  # a process that is stuck is ended, and says where


def main(name: str, count: int, first: int, progress: Path) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        target = targets.get(name, Path(folder))
        became, wrong, slowest = Counter[str](), list[str](), 0.0
        for number in range(first, count):
            progress.write_text(str(number))
            mutant, started = target.mutant(number, np.random.default_rng([7, number])), time.monotonic()
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            try:
                target.read(mutant)
                became["read"] += 1
            except target.refuses as error:
                became["refused"] += 1
                became["at the first look"] += target.shallow(str(error))
            except Exception as error:
                wrong.append(f"{number}: {error!r:.200}")
            faulthandler.cancel_dump_traceback_later()
            slowest = max(slowest, time.monotonic() - started)
    # Not getrusage's, which begins with the parent's.
    peak = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) // 1024
    deep = round(1 - became.pop("at the first look", 0) / max(count - first, 1), 3)
    counted = {name: became[name] for name in ("read", "refused")}
    return {**counted, "deep": deep, "wrong": wrong, "slowest_seconds": round(slowest, 2), "peak_mib": peak}


if __name__ == "__main__":
    name, count, first, progress = sys.argv[1:]
    print(json.dumps(main(name, int(count), int(first), Path(progress))))
