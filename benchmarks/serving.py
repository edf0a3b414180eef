"""How much of what a model can do in a process is left behind a server? enfold, infinity and BentoML's own batching.

Texts through all-MiniLM-L6-v2, photographs through a ViT-S/16: the same weights in fp32, the same items, two threads of
computation each. Every server is asked by one connection, by 8 and by 64 with one item to a request, and by 4 with 32.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import orjson

import enfold
from benchmarks.harness import items, load, peers
from benchmarks.harness.report import Result, Row, interleaved
from enfold import runtime, settings
from enfold.errors import EnfoldError
from enfold.golden import cosine
from enfold.model import Model
from enfold.settings import Settings

SHAPES = ((1, 1), (8, 1), (64, 1), (4, 32))  # connections, items in a request
LONE, PEAK = SHAPES[0], SHAPES[2]
RUNS, SECONDS = 5, 8
QUICK_RUNS, QUICK_SECONDS = 2, 3
TEXTS, PHOTOGRAPHS = 512, 64
QUICK_TEXTS, QUICK_PHOTOGRAPHS = 128, 32
COSINE = 0.9999  # of every vector to ONNX Runtime's in this process


def run(quick: bool) -> Result:
    config = settings.load()
    folder, texts = items.minilm(config), items.texts(config, QUICK_TEXTS if quick else TEXTS)
    pictures, vit = items.photographs(QUICK_PHOTOGRAPHS if quick else PHOTOGRAPHS), items.vit(config)
    chosen = {ref: enfold.open(ref, runtime=config.runtime).runtime for ref in ("minilm", vit)}
    ours = {
        ref: [peers.enfold(config, ref, runtime=name), peers.bentoml(config, ref, name)] for ref, name in chosen.items()
    }
    everyone = [*ours["minilm"], peers.infinity(config, folder)]
    read, read_ratios, read_wrong = _compared(config, "minilm", chosen["minilm"], texts, everyone, quick)
    seen, seen_ratios, seen_wrong = _compared(config, vit, chosen[vit], pictures, ours[vit], quick)
    return Result(
        tables={
            "Texts through all-MiniLM-L6-v2:": read,
            "Texts, what a server adds:": read_ratios,
            "Photographs through ViT-S/16 at 224 pixels, weights random:": seen,
            "Photographs, what a server adds:": seen_ratios,
        },
        about={
            "runs": QUICK_RUNS if quick else RUNS,
            "threads": peers.THREADS,
            "runtimes": chosen,
            **items.lengths(config, texts),
            "photographs": len(pictures),
            "mean bytes of a photograph": round(sum(map(len, pictures)) / len(pictures)),
        },
        wrong=" ".join([*read_wrong, *seen_wrong]),
    )


def _compared(
    config: Settings, ref: str, chosen: str, raw: Sequence[Any], systems: list[peers.System], quick: bool
) -> tuple[list[Row], list[Row], list[str]]:
    """Rows of all systems, what each adds to the model alone, and what is wrong with any of them."""
    runs, seconds = (QUICK_RUNS, QUICK_SECONDS) if quick else (RUNS, SECONDS)
    wire, models = items.wire(raw), _models(ref, chosen)
    reference = enfold.open(ref, runtime="onnxruntime").embed(raw).vectors
    with ExitStack() as stack:
        servers = [stack.enter_context(peers.running(system, config.home / "benchmarks")) for system in systems]
        closest = {
            (server.system.name, shape): _closest(server, wire, reference, *shape)
            for server in servers
            for shape in SHAPES
        }
        measurements: dict[Any, Any] = {
            (name, None): partial(_in_process, model, raw) for name, model in models.items()
        }
        for shape in SHAPES:
            for server in servers:
                measurements[server.system.name, shape] = partial(_served, server, wire, *shape, seconds)
        found = interleaved(runs, measurements)
        half = interleaved(
            runs,
            {
                server.system.name: partial(
                    _half_load, server, wire, found[server.system.name, PEAK]["items/s"] / 2, seconds
                )
                for server in servers
            },
        )
    alone, rows, wrong = found[f"in process, {chosen}", None], [], []
    for (name, shape), row in found.items():
        told = {"system": name, "connections": shape and shape[0], "items a request": shape and shape[1]}
        near = closest.get((name, shape), row.get("cosine ≥"))
        rows.append({**told, **row, "of in process": row["items/s"] / alone["items/s"], "cosine ≥": near})
        if row["failed"] or not row["items/s"] or (near or 0) < COSINE:
            wrong.append(f"{name} at {shape}: {row['items/s']:.1f} items/s, cosine {near}, failed {row['failed']}.")
    ratios = [
        {
            "system": server.system.name,
            "peak, of in process": found[server.system.name, PEAK]["items/s"] / alone["items/s"],
            "lone p50 / in process": _ratio(found[server.system.name, LONE]["p50 ms"], alone["p50 ms"]),
            "half load, req/s": half[server.system.name]["req/s"],
            "half load p99 / lone p99": _ratio(
                half[server.system.name]["p99 ms"], found[server.system.name, LONE]["p99 ms"]
            ),
            **{f"half load {name}": half[server.system.name][name] for name in ("p50 ms", "p99 ms", "failed")},
            "its client's CPU": half[server.system.name]["client CPU"],
        }
        for server in servers
    ]
    return rows, ratios, wrong


def _models(ref: str, chosen: str) -> dict[str, Model]:
    """The model in the runtime that the servers use, and in every other that can run it here."""
    models = {}
    for name in (chosen, *(name for name in runtime.names() if name != chosen)):
        try:
            model = enfold.open(ref, runtime=name, threads=peers.THREADS)
            model.check()
        except EnfoldError:  # not installed, or not for this machine
            continue
        models[f"in process, {name}"] = model
    return models


def _in_process(model: Model, raw: Sequence[Any]) -> Row:
    """All items in batches of similar length; then each alone, for the time that a caller would wait."""
    wall, cpu = time.perf_counter(), time.process_time()
    vectors = model.embed(raw).vectors
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    waits = []
    for item in raw[:128]:
        began = time.perf_counter()
        alone = model.embed([item]).vectors
        waits.append(time.perf_counter() - began)
    p50, p99 = np.percentile(waits, (50, 99)) * 1000
    near = float(cosine(alone, vectors[len(waits) - 1 : len(waits)])[0])
    figures = {"items/s": len(raw) / wall, "req/s": None, "p50 ms": float(p50), "p99 ms": float(p99)}
    return {**figures, "CPU ms/item": cpu * 1000 / len(raw), "client CPU": None, "failed": {}, "cosine ≥": near}


def _served(server: peers.Server, wire: list[dict[str, str]], connections: int, each: int, seconds: float) -> Row:
    before = server.cpu_seconds()
    found = load.wrk(server.url, server.system.bodies(wire, each), connections=connections, seconds=seconds)
    spent = server.cpu_seconds() - before
    known = found.good > 0 and not found.failed  # wrk's latencies are over all answers
    return {
        "items/s": found.per_second * each,
        "req/s": found.per_second,
        "p50 ms": found.p50 * 1000 if known else None,
        "p99 ms": found.p99 * 1000 if known else None,
        "CPU ms/item": spent * 1000 / (found.good * each) if found.good else None,
        "client CPU": found.client_seconds / found.seconds,
        "failed": found.failed,
    }


def _half_load(server: peers.Server, wire: list[dict[str, str]], rate: float, seconds: float) -> Row:
    if not rate:  # it answered nothing at its peak
        return {"req/s": 0.0, "p50 ms": None, "p99 ms": None, "client CPU": None, "failed": {}}
    client = load.Client(server.url, server.system.bodies(wire))
    wall, cpu = load.run(client.open(rate, seconds))
    good = [asked for asked in client.asked if asked.status == 200]
    failed = {status: count for status, count in load.statuses(client.asked).items() if status != "200"}
    return {"req/s": len(good) / wall, **load.latencies(good), "client CPU": cpu / wall, "failed": failed}


def _closest(
    server: peers.Server, wire: list[dict[str, str]], reference: np.ndarray, connections: int, each: int
) -> float | None:
    """The lowest cosine of a served vector to the model's own, asked as in the measurement; None if none came."""
    client = load.Client(server.url, server.system.bodies(wire, each), keep_bodies=True)
    load.run(client.closed(connections, requests=len(client), pause=lambda asked: asked.retry_after))
    good, lowest = [asked for asked in client.asked if asked.status == 200], 1.0
    for asked in good:
        vectors = np.array(server.system.vectors(orjson.loads(asked.body)), np.float32)
        lowest = min(lowest, float(cosine(vectors, reference[asked.index * each :][: len(vectors)]).min()))
    return lowest if good else None


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value and base else None
