"""How many rows a second does a batch job do, and what does it take, however many rows there are?

Texts through all-MiniLM-L6-v2: `enfold embed` in one process of two threads and by two workers of Ray, beside the same
model asked for all texts at once in a process of its own, and beside Ray Data and Daft as their pages show it, with the
same model in two workers of one thread. Every way reads the same Parquet file and writes vectors into another; its
vectors are compared with the first's. Then a job of a million texts through WordLlama, which is so fast that all the
rest can be seen: its memory beside that of the model alone.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import parquet

from benchmarks.harness import items, peers
from benchmarks.harness.report import Result, Row
from enfold import settings
from enfold.golden import cosine
from enfold.settings import Settings

ROWS, QUICK_ROWS = 50_000, 1_000
MANY, QUICK_MANY = (100_000, 1_000_000), (20_000, 100_000)
DISTINCT = 20_000  # texts; beyond them they come again, with a number before them
COSINE = 0.9999
MEMORY = 1000  # MiB above the model, at most
MIB = 2**20
_PROGRAMS = Path(peers.__file__).parent / "programs"
_EVERY_SECONDS = 0.1


def run(quick: bool) -> Result:
    config = settings.load()
    home = config.home / "benchmarks" / "batch"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    items.minilm(config)
    items.wordllama(config)
    texts = items.texts(config, min(QUICK_ROWS if quick else ROWS, DISTINCT))
    side_by_side = _compared(config, home, texts, QUICK_ROWS if quick else ROWS)
    grown = [_grown(home, texts, count) for count in (QUICK_MANY if quick else MANY)]
    shutil.rmtree(home)
    far = [row["by"] for row in side_by_side if row["cosine ≥"] < COSINE]
    wrong = f"The vectors of {', '.join(far)} are others." if far else ""
    if (most := max(row["above the model"] for row in grown)) > MEMORY:
        wrong += f" A job took {most:.0f} MiB more than its model; {MEMORY} is the limit."
    return Result(
        {"Texts through all-MiniLM-L6-v2:": side_by_side, "Texts through WordLlama, `enfold embed`:": grown},
        {"threads": peers.THREADS, "resident": "of all processes together", **items.lengths(config, texts)},
        wrong.strip(),
    )


def _compared(config: Settings, home: Path, texts: list[str], count: int) -> list[Row]:
    rows = _rows(home / "rows.parquet", texts, count)
    daft = peers.environment(config.home / "benchmarks", "daft", "daft==0.7.26", ours=True)
    ways: dict[str, Callable[[Path], list[Any]]] = {
        "the model alone": partial(_program, sys.executable, "process_embed.py", rows),
        "enfold embed": lambda out: _job(rows, "minilm", out),
        "enfold embed --engine ray": lambda out: [*_job(rows, "minilm", out), "--engine", "ray", "--workers", "2"],
        "Ray Data": partial(_program, sys.executable, "ray_data_embed.py", rows),
        "Daft": partial(_program, daft, "daft_embed.py", rows),
    }
    found: list[Row] = []
    vectors: dict[str, np.ndarray] = {}
    for name, words in ways.items():
        out = home / name.replace(" ", "-")
        out.mkdir()
        threads = 1 if "ray" in name else peers.THREADS
        seconds, peak = _watched(home, words(out), threads)
        vectors[name] = _vectors(out, texts, count)
        found.append({"by": name, "rows": count, "rows/s": count / seconds, "s": seconds, "peak MiB": peak})
    alone = vectors["the model alone"]
    for row in found:
        row["of the model alone"] = row["rows/s"] / found[0]["rows/s"]
        row["cosine ≥"] = float(cosine(vectors[row["by"]], alone).min())
    return found


def _grown(home: Path, texts: list[str], count: int) -> Row:
    """Of a job of so many rows: rows a second and its memory."""
    rows, out = _rows(home / f"{count}.parquet", texts, count), home / f"out-{count}"
    idle = subprocess.run(
        [sys.executable, _PROGRAMS / "idle_model.py", "wordllama", rows],
        env=_environment(),
        capture_output=True,
        check=True,
    )
    model = int(idle.stdout) / MIB
    seconds, peak = _watched(home, _job(rows, "wordllama", out), peers.THREADS)
    written = sum(parquet.ParquetFile(file).metadata.num_rows for file in out.glob("part-*.parquet"))
    if written != count:
        raise RuntimeError(f"the job wrote {written} of {count} rows")
    row = {"rows": count, "rows/s": count / seconds, "s": seconds, "peak MiB": peak, "model MiB": model}
    return row | {"above the model": peak - model}


def _rows(file: Path, texts: list[str], count: int) -> Path:
    """A Parquet file of `id` and `text`, page by page, none of them the same."""
    schema = pa.schema({"id": pa.string(), "text": pa.string()})
    with parquet.ParquetWriter(file, schema) as writer:
        for at in range(0, count, DISTINCT):
            numbers = range(at, min(at + DISTINCT, count))
            page = [_text(texts, number) for number in numbers]
            writer.write_table(pa.table([[str(number) for number in numbers], page], schema=schema))
    return file


def _text(texts: list[str], number: int) -> str:
    turn, at = divmod(number, len(texts))
    return f"{turn} {texts[at]}" if turn else texts[at]


def _job(rows: Path, bundle: str, out: Path) -> list[Any]:
    return [sys.executable, "-m", "enfold.cli", "embed", rows, "--model", bundle, "--to", f"parquet://{out}", "--json"]


def _program(python: Path | str, name: str, rows: Path, out: Path) -> list[Any]:
    return [python, _PROGRAMS / name, "minilm", rows, out]


def _watched(home: Path, words: list[Any], threads: int) -> tuple[float, float]:
    """Seconds that a command took, and the most MiB that it and all that it started had at once."""
    began, peak, log = time.perf_counter(), 0, home / "log.txt"
    with log.open("wb") as file:
        environment = _environment() | {"ENFOLD_THREADS": str(threads)}
        child = psutil.Popen([str(word) for word in words], stdout=file, stderr=file, env=environment)
        while child.poll() is None:
            peak = max(peak, peers.memory_bytes(child))
            time.sleep(_EVERY_SECONDS)
    if child.returncode:
        raise RuntimeError(f"{' '.join(map(str, words[:4]))} failed: {log.read_text()[-3000:]}")
    return time.perf_counter() - began, peak / MIB


def _vectors(out: Path, texts: list[str], count: int) -> np.ndarray:
    """float32 [N, D] that were written, in the order of the rows."""
    found = pa.concat_tables(
        parquet.read_table(file, columns=["text", "vector"]).cast(
            pa.schema({"text": pa.string(), "vector": pa.list_(pa.float32())})
        )
        for file in sorted(out.glob("*.parquet"))
    )
    by_text = dict(zip(found["text"].to_pylist(), found["vector"].to_pylist(), strict=True))
    return np.array([by_text[_text(texts, number)] for number in range(count)], np.float32)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(_PROGRAMS.parents[2]), "OMP_NUM_THREADS": "1"}
