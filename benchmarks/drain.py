"""Is anything lost when a server is told to stop under load, and how long does one take to be ready?

64 connections keep asking; SIGTERM comes. A request counts as lost if it was sent while the server still took
connections and no whole answer came.
"""

import asyncio
import signal
import time
from statistics import median

from benchmarks.harness import items, load, peers
from benchmarks.harness.report import Result, Row
from enfold import settings

CONNECTIONS, WARM_SECONDS, PATIENCE_SECONDS = 64, 3, 30
RUNS, QUICK_RUNS = 5, 2
_PROBE_SECONDS = 0.005


def run(quick: bool) -> Result:
    config, runs = settings.load(), QUICK_RUNS if quick else RUNS
    cache = config.home / "benchmarks"
    system, tiny = peers.enfold(config, "minilm"), peers.enfold(config, items.dummy(config))
    bodies = system.bodies(items.wire(items.texts(config, 512)))
    rows = []
    for _ in range(runs):
        with peers.running(system, cache) as server:
            rows.append(_stopped(server, bodies))
    starts = []
    for _ in range(runs):
        began = time.perf_counter()
        with peers.running(tiny, cache):
            starts.append(time.perf_counter() - began)
    start = {"runs": runs, "median s": median(starts), "fastest": min(starts), "slowest": max(starts)}
    lost = sum(row["lost"] for row in rows)
    return Result(
        {"SIGTERM under 64 connections:": rows, "From the start of a process to ready, a small bundle:": [start]},
        wrong=f"{lost} accepted requests were lost." if lost else "",
    )


def _stopped(server: peers.Server, bodies: list[bytes]) -> Row:
    client = load.Client(server.url, bodies)
    told = gone = listened = 0.0

    async def scene() -> None:
        nonlocal told, gone, listened
        asking = asyncio.create_task(client.closed(CONNECTIONS, pause=lambda asked: asked.retry_after))
        await asyncio.sleep(WARM_SECONDS)
        told = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        while server.process.poll() is None and time.perf_counter() - told < PATIENCE_SECONDS:
            began = time.perf_counter()
            try:
                (await client.connect()).close()
                listened = began
            except OSError:
                pass
            await asyncio.sleep(_PROBE_SECONDS)
        gone = time.perf_counter()
        await asyncio.wait([asking], timeout=PATIENCE_SECONDS)

    load.run(scene())
    sent = [asked for asked in client.asked if asked.sent]
    lost = [asked for asked in sent if asked.answered is None and asked.sent <= listened]
    after = [asked for asked in sent if asked.sent > told]
    return {
        "sent": len(sent),
        "lost": len(lost),
        "statuses": load.statuses(sent),
        "sent after SIGTERM": len(after),
        "of them": load.statuses(after),
        "s until it takes no more": max(listened - told, 0.0),
        "s until it is gone": gone - told,
    }
