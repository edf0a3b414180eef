"""Reads damaged copies of a modality's files and tells what became of them: `python -m tests.fuzz.files image 2000`.

A copy has one to four wounds, most of them behind its first bytes, so that readers get past the header. The number of
each is written down before it is read: whoever starts this again after a crash goes on behind it.
"""

import faulthandler
import json
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from enfold.errors import BadItem
from tests import examples

HANG_SECONDS = 30  # a process that is stuck is ended, and says where
_HEADER = 64  # bytes that are spared mostly
_WORDS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def wounded(file: bytes, rng: np.random.Generator) -> bytes:
    """A damaged copy."""
    data = bytearray(file)
    for _ in range(rng.integers(1, 5)):
        spared = min(_HEADER, len(data) // 2) if rng.random() < 0.8 else 0
        at = int(rng.integers(spared, max(len(data), spared + 1)))
        length = int(rng.integers(1, 33))
        match rng.integers(6):
            case 0:
                data[at : at + 1] = rng.bytes(1)
            case 1:
                order = ("little", "big")[rng.integers(2)]
                data[at : at + 4] = int(rng.choice(_WORDS)).to_bytes(4, order)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at : at + length] = rng.bytes(length)
            case 5 if rng.random() < 0.3:
                del data[at:]
    return bytes(data)


def main(modality: str, count: int, first: int, progress: Path) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        reader, found = examples.reader(modality, Path(folder)), examples.examples(modality)
        files = [*found.files.values(), found.large]
        became, wrong, slowest = Counter[str](), list[str](), 0.0
        for number in range(first, count):
            progress.write_text(str(number))
            rng = np.random.default_rng([7, number])
            mutant, started = wounded(files[number % len(files)], rng), time.monotonic()
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            try:
                reader.prepare(reader.read(mutant))
                became["read"] += 1
            except BadItem:
                became["refused"] += 1
            except Exception as error:
                became["other"] += 1
                wrong.append(f"{number}: {error!r:.200}")
            faulthandler.cancel_dump_traceback_later()
            slowest = max(slowest, time.monotonic() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {**became, "wrong": wrong, "slowest_seconds": round(slowest, 2), "peak_mib": peak}


if __name__ == "__main__":
    name, count, first, progress = sys.argv[1:]
    print(json.dumps(main(name, int(count), int(first), Path(progress))))
