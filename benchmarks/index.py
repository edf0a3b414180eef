"""How fast, how exact and how large is the embedded index: without a graph, with it, and with vectors of 8 bits?

Real vectors: passages of the Brown corpus through WordLlama, 256 numbers each, repeated with jitter to as many as are
wanted; queries are passages that are not among them. Beside numpy, which compares with every vector, and faiss's graph
of as many edges. Each way answers in a process of its own, one query after the other, whose memory is what it has more
than before it opened the index; what lies in files that are mapped counts as far as it was read. Then points written
through the index beside the same points written through the engine alone.
"""
# N points, Q queries, D dimensions

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine

import enfold
from benchmarks.harness import items, peers
from benchmarks.harness.report import Result, Row, interleaved
from enfold import settings, wire
from enfold.settings import Settings
from serving.index import Points, quantised
from serving.index.collection import EdgeCollection

SIZES, QUICK_SIZES = (100_000, 1_000_000), (100_000,)
TEXTS, TOKENS = 20_000, 40
QUERIES, NEAREST = 500, 10
JITTER = 0.3  # length of what is added to a unit vector: cosine to the original 0.96
PAGE = 1000
WRITTEN, RUNS, QUICK_RUNS = 9_000, 5, 2  # fewer points than those of which a graph is built
WRITING = 0.9  # of what the engine alone writes a second, at least
SPACE = "sp_bench"
_PROGRAMS = Path(peers.__file__).parent / "programs"


def run(quick: bool) -> Result:
    config = settings.load()
    home = config.home / "benchmarks" / "index"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    base, queries = _embedded(config)
    rows: list[Row] = []
    for size in QUICK_SIZES if quick else SIZES:
        rows += _searched(config, home / str(size), _grown(base, size), queries)
    written = _written(home, _grown(base, WRITTEN), QUICK_RUNS if quick else RUNS)
    shutil.rmtree(home)
    ratio = written["index"]["points/s"] / written["engine"]["points/s"]
    told = [{"by": name, **row} for name, row in written.items()]
    return Result(
        {
            "The nearest 10 of N points:": rows,
            f"{WRITTEN:,} points written, {PAGE:,} at a time:": [*told, {"by": "index / engine", "points/s": ratio}],
        },
        {"texts": TEXTS, "queries": QUERIES, "dimensions": base.shape[1], "jitter": JITTER, "threads": peers.THREADS},
        "" if ratio >= WRITING else f"The index writes {ratio:.2f} of what its engine writes; {WRITING} is the limit.",
    )


def _embedded(config: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors [TEXTS, D] and [QUERIES, D]."""
    items.wordllama(config)
    drawn = items.texts(config, TEXTS + QUERIES, tokens=TOKENS)
    vectors = enfold.open("wordllama").embed(drawn).vectors
    return vectors[:TEXTS], vectors[TEXTS:]


def _grown(base: np.ndarray, count: int) -> np.ndarray:
    """[N, D]: the vectors in turns, each time with noise of its own."""
    rng, grown = np.random.default_rng(0), np.empty((count, base.shape[1]), np.float32)
    for at in range(0, count, len(base)):
        part = base[: count - at]
        noise = rng.normal(size=part.shape).astype(np.float32) * JITTER / part.shape[1] ** 0.5
        grown[at : at + len(part)] = part + noise
    return grown / np.linalg.norm(grown, axis=1, keepdims=True)


def _searched(config: Settings, home: Path, vectors: np.ndarray, queries: np.ndarray) -> list[Row]:
    home.mkdir()
    np.save(home / "queries.npy", queries)
    np.save(home / "truth.npy", _truth(vectors, queries))
    np.save(home / "vectors.npy", vectors)
    plain, bits = home / "plain", home / "bits"
    EdgeCollection.create(plain, _facts(vectors.shape[1]))
    _fill(plain / "shard-1", vectors)
    engine.EdgeShard.create(str(bits), _eight_bits(vectors.shape[1])).close()
    _fill(bits, vectors)

    def ask(way: str, index: Path) -> Row:
        return _asked(index, [sys.executable, _PROGRAMS / "nearest.py", way, home, index])

    rows = [
        {"points": len(vectors), "way": "numpy, every vector", **ask("numpy", home / "vectors.npy")},
        {"points": len(vectors), "way": "no graph, exact", **ask("exact", plain)},
    ]
    seconds = _graph(plain / "shard-1")
    rows.append({"points": len(vectors), "way": "graph", **ask("graph", plain), "build s": seconds})
    seconds = _graph(bits)
    told = ask("eight_bits", bits)
    rows.append({"points": len(vectors), "way": "graph and 8 bits, the engine alone", **told, "build s": seconds})
    python, file = peers.environment(config.home / "benchmarks", "faiss", "faiss-cpu==1.15.1", "psutil"), home / "faiss"
    words = [python, _PROGRAMS / "faiss_nearest.py", home, home / "vectors.npy", file, str(peers.THREADS)]
    seconds = _timed(words)
    rows.append({"points": len(vectors), "way": "faiss, graph", **_asked(file, words), "build s": seconds})
    shutil.rmtree(home)
    return rows


def _asked(index: Path, command: list[Any]) -> Row:
    """What a program says of an index, with the size of that."""
    done = subprocess.run(list(map(str, command)), env=_environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[1]} failed: {done.stderr[-2000:]}")
    files = [index] if index.is_file() else [file for file in index.rglob("*") if file.is_file()]
    return {**json.loads(done.stdout), "disk MiB": sum(file.stat().st_blocks * 512 for file in files) / 2**20}


def _timed(words: list[Any]) -> float:
    began = time.perf_counter()
    subprocess.run(list(map(str, words)), env=_environment(), check=True)
    return time.perf_counter() - began


def _graph(shard: Path) -> float:
    """Seconds that building it took, as the index has it built."""
    return _timed([sys.executable, "-m", "serving.index.graph", shard])


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(_PROGRAMS.parents[2]), "OMP_NUM_THREADS": str(peers.THREADS)}


def _truth(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """[Q, NEAREST] rows"""
    found = []
    for query in queries:
        scores = vectors @ query
        few = np.argpartition(-scores, NEAREST - 1)[:NEAREST]
        found.append(few[np.argsort(-scores[few])])
    return np.array(found)


def _facts(dimensions: int) -> wire.NewCollection:
    about = {"model": "wordllama@1", "entry": "text", "modality": "text", "space": SPACE}
    return wire.NewCollection(name="bench", dimensions=dimensions, **about)


def _eight_bits(dimensions: int) -> engine.EdgeConfig:
    """A shard as that of an index, with vectors of 8 bits beside the real ones."""
    bits = engine.ScalarQuantizationConfig(engine.ScalarType.Int8, quantised.QUANTILE, always_ram=True)
    vectors = {"": engine.EdgeVectorParams(dimensions, engine.Distance.Cosine, quantization_config=bits)}
    return engine.EdgeConfig(vectors)


def _pages(vectors: np.ndarray) -> Iterator[Points]:
    for at in range(0, len(vectors), PAGE):
        part = vectors[at : at + PAGE]
        rows = range(at, at + len(part))
        yield Points([str(uuid.UUID(int=row)) for row in rows], part, [{"row": row} for row in rows], SPACE)


def _fill(shard: Path, vectors: np.ndarray) -> None:
    opened = engine.EdgeShard.load(str(shard))
    for page in _pages(vectors):
        _by_engine(opened, page)
    opened.close()


def _by_engine(shard: engine.EdgeShard, page: Points) -> None:
    rows = zip(page.ids, page.vectors, page.payloads, strict=True)
    shard.update(engine.UpdateOperation.upsert_points([engine.Point(*row) for row in rows]))
    shard.flush()


def _written(home: Path, vectors: np.ndarray, runs: int) -> dict[str, Row]:
    pages, facts = list(_pages(vectors)), _facts(vectors.shape[1])

    def by_index() -> Row:
        EdgeCollection.create(home / "index", facts)
        kept = EdgeCollection(home / "index")
        began = time.perf_counter()
        for page in pages:
            kept.upsert(page)
        row = {"points/s": len(vectors) / (time.perf_counter() - began)}
        kept.close()
        shutil.rmtree(home / "index")
        return row

    def by_engine() -> Row:
        EdgeCollection.create(home / "engine", facts)
        shard = engine.EdgeShard.load(str(home / "engine" / "shard-1"))
        began = time.perf_counter()
        for page in pages:
            _by_engine(shard, page)
        row = {"points/s": len(vectors) / (time.perf_counter() - began)}
        shard.close()
        shutil.rmtree(home / "engine")
        return row

    return interleaved(runs, {"engine": by_engine, "index": by_index})
