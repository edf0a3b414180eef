"""What every program that answers nearest-neighbour queries is asked, and how its answers are judged: a JSON line.

A folder holds queries.npy [Q, D] and truth.npy [Q, K], the rows of the true nearest.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil

WARM = 50
MIB = 2**20


def measure(folder: Path, opened: Callable[[], Callable[[np.ndarray, int], Sequence[int]]]) -> None:
    """opened   what opens an index and returns what answers: a query and K -> rows, nearest first"""
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    nearest = truth.shape[1]
    before = psutil.Process().memory_info()
    ask = opened()
    for query in queries[:WARM]:
        ask(query, nearest)
    waits, found = [], []
    for query, true in zip(queries, truth, strict=True):
        began = time.perf_counter()
        rows = ask(query, nearest)
        waits.append(time.perf_counter() - began)
        found.append(len({*rows} & {*true.tolist()}) / nearest)
    after = psutil.Process().memory_info()
    p50, p99 = np.percentile(waits, (50, 99)) * 1000
    told = {"p50 ms": float(p50), "p99 ms": float(p99), f"recall@{nearest}": float(np.mean(found))}
    told |= {"memory MiB": (after.rss - before.rss) / MIB, "of it files": (after.shared - before.shared) / MIB}
    print(json.dumps(told))
