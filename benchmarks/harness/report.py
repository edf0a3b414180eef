"""Results: runs brought to a median and a spread, and the tables of docs/performance.md and docs/reliability.md.

python -m benchmarks.harness.report     writes the tables anew
"""

import json
import os
import platform
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from enfold.tables import cell

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "performance"
PAGES = (ROOT / "docs" / "performance.md", ROOT / "docs" / "reliability.md")
_LIBRARIES = ("bentoml", "onnxruntime", "openvino", "starlette", "torch", "uvicorn")

IDLE_PERCENT = 10  # of the whole machine

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    tables   title -> rows; a title is a sentence
    about    what was measured on what: items drawn, versions of peers, shares of CPU
    wrong    why the figures are not good enough, if they are not
    """

    tables: dict[str, list[Row]]
    about: dict[str, Any] = field(default_factory=dict)
    wrong: str = ""


def middle(runs: Sequence[Row]) -> Row:
    """The median of every figure of several runs, the sum of every tally (a dict of counts).

    `spread` is (highest - lowest) / median of the first figure.
    """
    found: Row = {}
    for name, value in runs[0].items():
        values = [run[name] for run in runs]
        if isinstance(value, dict):
            found[name] = dict(sum((Counter(tally) for tally in values), Counter()))
        else:
            found[name] = value if isinstance(value, str) else None if None in values else median(values)
    first = [run[next(iter(runs[0]))] for run in runs]
    return found | {"spread": (max(first) - min(first)) / median(first) if median(first) else 0.0}


def interleaved(times: int, measurements: Mapping[Any, Callable[[], Row]]) -> dict[Any, Row]:
    """Every measurement so many times, in turns, so that a busy minute of the machine falls on all.

    Each begins on an idle machine: a server may still be at work for callers of the one before, who have left.
    """
    runs: dict[Any, list[Row]] = {name: [] for name in measurements}
    for _ in range(times):
        for name, measure in measurements.items():
            _until_idle()
            runs[name].append(measure())
    return {name: middle(found) for name, found in runs.items()}


def _until_idle() -> None:
    """Or a minute: another's work does not end for ours."""
    deadline = time.monotonic() + 60
    while psutil.cpu_percent(interval=0.5) > IDLE_PERCENT and time.monotonic() < deadline:
        pass


def record(name: str, result: Result, quick: bool, seconds: float) -> dict[str, Any]:
    """What is kept of a result, as JSON."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "name": name,
        "quick": quick,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit.stdout.strip(),
        "seconds": round(seconds),
        "machine": _machine(),
        "about": result.about,
        "wrong": result.wrong,
        "tables": result.tables,
    }


def _machine() -> dict[str, Any]:
    cpu = (
        re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        if os.path.exists("/proc/cpuinfo")
        else None
    )
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: found for name in _LIBRARIES if (found := _version(name))},
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def page(file: Path) -> str:
    """A page with the tables of every published result between its marks; all else stays as it is written there."""
    text = file.read_text()
    for kept in sorted(PUBLISHED.glob("*.json")):
        begin, end = f"<!-- bench:{kept.stem} -->", f"<!-- /bench:{kept.stem} -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            text = before + begin + "\n" + markdown(json.loads(kept.read_bytes())) + end + rest.partition(end)[2]
    return text


def markdown(found: dict[str, Any]) -> str:
    """The tables of one result, with what they were measured on."""
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    size = ", quick" if found["quick"] else ""
    lines = [f"{found['date']}, commit {found['commit']}{size}; {machine}.", ""]
    if found["about"]:
        lines += ["; ".join(f"{name}: {cell(value)}" for name, value in found["about"].items()) + ".", ""]
    if found["wrong"]:
        lines += [f"**{found['wrong']}**", ""]
    for title, rows in found["tables"].items():
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines += [f"{title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(cell(row.get(name)) for name in columns)} |" for row in rows]
        lines.append("")
    return "\n".join(lines) + "\n"


def write_pages() -> None:
    for file in PAGES:
        file.write_text(page(file))


if __name__ == "__main__":
    write_pages()
