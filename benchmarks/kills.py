"""Is anything lost or doubled when a process is killed while it writes?

kill -9 at instants uniform over the writing phases of six works: a batch job into Parquet, one into the index, points
put into the index, an upgrade of a collection, points put into a server over HTTP, and a training. Then the same
command again, and what there is beside what a run that was left alone has made: ids, payloads and vectors, or weights.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pyarrow import parquet

from benchmarks.harness.programs import served, upserts
from benchmarks.harness.report import Result, Row
from enfold import settings
from serving.index.edge import EdgeIndex
from tests import bundles

KILLS, QUICK_KILLS = 100, 12
INSIDE = 0.8  # of the kills, at least, while something was being written
ITEMS = 480
_WRITING = ("embed", "carry over", "switch", "settle", "writing")  # as jobs call what they do
_SECONDS = 120
# Small shards, so that there is much to be written, and no map, which writes once and takes longest.
_COMMAND = """
from enfold import cli
from serving.jobs import layout, pipeline
pipeline.SHARD_ITEMS, layout.FEW = 16, 10**9
cli.main()
"""
_TRAINING = """
import sys
from pathlib import Path
from tests.unit.training import tiny
print("ready", flush=True)
tiny.train(Path(sys.argv[1]))
"""

Content = dict[str, tuple[str, bytes]]  # id -> payload as JSON, vector


def run(quick: bool) -> Result:
    home = settings.load().home / "benchmarks" / "kills"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    rng, kills = np.random.default_rng(0), QUICK_KILLS if quick else KILLS
    works = _works(home)
    rows: list[Row] = []
    wrong, phases = 0, Counter[str]()
    for number, work in enumerate(works):
        share = kills // len(works) + (number < kills % len(works))
        duration, expected = work.alone()
        found = [work.killed(rng.uniform(0, duration), expected) for _ in range(share)]
        inside = [one for one in found if one["phase"] in _WRITING]
        wrong += sum(one["lost"] + one["twice or other"] for one in found)
        phases.update(one["phase"] for one in found)
        rows.append(
            {
                "work": work.name,
                "kills": share,
                "while writing": len(inside),
                "phases": dict(Counter(one["phase"] for one in found)),
                "lost": sum(one["lost"] for one in found),
                "twice or other": sum(one["twice or other"] for one in found),
                "points": len(expected),
                "s alone": round(duration, 2),
            }
        )
    while_writing = sum(row["while writing"] for row in rows)
    complaint = f"{wrong} points were lost, doubled or changed." if wrong else ""
    if not complaint and while_writing < INSIDE * kills:
        complaint = f"Only {while_writing} of {kills} kills fell into a writing phase."
    return Result({f"kill -9, {kills} times:": rows}, {"phases": dict(phases)}, complaint)


class Work:
    """Something that writes, in a process of its own.

    before    the state that it begins with: a home, which every time is laid anew
    content   what there is afterwards
    """

    def __init__(self, name: str, home: Path, words: list[str], content: Callable[[Path], Content]):
        self.name, self._words, self._content = name, words, content
        self._before, self.home = home, home.with_name(f"{home.name}-at-work")

    def alone(self) -> tuple[float, Content]:
        """Seconds from the first thing written to the last, and what comes of it."""
        self._lay()
        child = self._start()
        began = self._begun(child)
        last = began
        while child.poll() is None:
            last = time.monotonic() if self._phase() in _WRITING else last
            time.sleep(0.005)
        if child.returncode:
            raise RuntimeError(f"{self.name} failed: {self._log.read_text()}")
        return last - began, self._content(self.home)

    def killed(self, after: float, expected: Content) -> Row:
        """kill -9 so many seconds after the writing began, then the same again."""
        self._lay()
        child = self._start()
        self._begun(child)
        time.sleep(after)
        phase = self._phase() if child.poll() is None else "ended"
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # and whatever it started: a server's workers, a builder of graphs
        child.wait()
        again = self._start()
        if again.wait(_SECONDS):
            raise RuntimeError(f"{self.name} did not go on: {self._log.read_text()}")
        found = self._content(self.home)
        changed = sum(found[id] != expected.get(id) for id in found)
        return {"phase": phase, "lost": len(expected.keys() - found.keys()), "twice or other": changed}

    def _lay(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self._before, self.home)

    @property
    def _log(self) -> Path:
        return self.home / "log.txt"

    def _start(self) -> "subprocess.Popen[bytes]":
        ours = {"ENFOLD_HOME": str(self.home), "ENFOLD_THREADS": "1"}
        words = [word.replace("HOME", str(self.home)) for word in self._words]
        with self._log.open("wb") as log:
            command = [sys.executable, *words]
            return subprocess.Popen(command, env=os.environ | ours, stdout=log, stderr=log, start_new_session=True)

    def _begun(self, child: "subprocess.Popen[bytes]") -> float:
        deadline = time.monotonic() + _SECONDS
        while self._phase() not in _WRITING and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        return time.monotonic()

    def _phase(self) -> str:
        """What it says that it does: a job in its record, a program by its lines."""
        for file in self.home.glob("jobs/*/job.json"):
            job = orjson.loads(file.read_bytes())
            if job["command"][1:] == [word.replace("HOME", str(self.home)) for word in self._words[2:-1]]:
                return str(job["progress"].get("phase", "starting"))
        return "writing" if self._log.exists() and self._log.read_bytes().startswith(b"ready") else "starting"


def _works(home: Path) -> list[Work]:
    empty = home / "empty"
    for seed in (0, 1):
        bundles.text_bundle(empty / "bundles", seed=seed)
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(bundles.WORDS[2:], 6)) for _ in range(ITEMS)]
    (empty / "texts.csv").write_text("text\n" + "\n".join(lines) + "\n")
    filled = home / "filled"
    shutil.copytree(empty, filled)
    embed = ["-c", _COMMAND, "embed", "HOME/texts.csv", "--model", "words@1", "--to"]
    first = Work("fill", filled, [*embed, "index://texts", "--json"], _collection)
    first.alone()
    # What was filled at work is where an upgrade begins; its sources are named by where they lay.
    shutil.rmtree(filled)
    shutil.copytree(first.home, filled)
    upgrade = ["-c", _COMMAND, "index", "upgrade", "texts", "--to", "words@2", "--overlap", "0.0", "--json"]
    return [
        Work("embed to Parquet", empty, [*embed, "parquet://HOME/out", "--json"], _files),
        Work("embed to the index", empty, [*embed, "index://texts", "--json"], _collection),
        Work("points into the index", empty, [upserts.__file__, "HOME/index"], _things),
        Work("upgrade", filled, upgrade, _collection),
        Work("points into a server", empty, [served.__file__, "HOME"], _things),
        Work("training", empty, ["-c", _TRAINING, "HOME/run"], _weights),
    ]


def _files(home: Path) -> Content:
    rows = [
        row for file in sorted((home / "out").glob("part-*.parquet")) for row in parquet.read_table(file).to_pylist()
    ]
    found = {row.pop("id"): (row.pop("vector"), row) for row in rows}
    if len(found) < len(rows):
        return {str(number): ("twice", b"") for number in range(len(rows))}
    return {id: _entry(row, vector) for id, (vector, row) in found.items()}


def _collection(home: Path, name: str = "texts") -> Content:
    index = EdgeIndex(home / "index", "")
    try:
        return {
            id: _entry(payload, vector)
            for page in index.collection(name).scroll(thumbnails=True)
            for id, payload, vector in zip(page.ids, page.payloads, page.vectors, strict=True)
        }
    finally:
        index.close()


def _weights(home: Path) -> Content:
    return {"weights": ("", (home / "run" / "method.safetensors").read_bytes())}


def _things(home: Path) -> Content:
    return _collection(home, "things")


def _entry(payload: dict[str, Any], vector: Any) -> tuple[str, bytes]:
    return orjson.dumps(payload, option=orjson.OPT_SORT_KEYS).decode(), np.asarray(vector, np.float32).tobytes()
