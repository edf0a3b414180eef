"""What does a request cost beyond its model? A vector of 384 numbers, from a model of no cost, by enfold and peers."""

from contextlib import ExitStack
from functools import partial

from benchmarks.harness import items, load, peers
from benchmarks.harness.report import Result, Row, interleaved
from enfold import settings

CONNECTIONS = (1, 8, 64)
RUNS, SECONDS = 5, 8
QUICK_RUNS, QUICK_SECONDS = 2, 3
TEXT = "it was the cat of a house by the sea"


def run(quick: bool) -> Result:
    config = settings.load()
    runs, seconds = (QUICK_RUNS, QUICK_SECONDS) if quick else (RUNS, SECONDS)
    systems = [
        peers.enfold(config, items.dummy(config)),
        peers.litserve(config),
        peers.starlette(),
        peers.bentoml_vector(config),
    ]
    with ExitStack() as stack:
        servers = [stack.enter_context(peers.running(system, config.home / "benchmarks")) for system in systems]
        for server in servers:
            _asked(server, 8, 1)
        found = interleaved(
            runs,
            {
                (server.system.name, connections): partial(_asked, server, connections, seconds)
                for connections in CONNECTIONS
                for server in servers
            },
        )
    rows = [{"system": name, "connections": connections, **row} for (name, connections), row in found.items()]
    failed = [f"{row['system']} did not answer {row['failed']}." for row in rows if row["failed"]]
    return Result({"One small request, one vector:": rows}, {"runs": runs}, " ".join(failed))


def _asked(server: peers.Server, connections: int, seconds: float) -> Row:
    bodies = server.system.bodies([{"text": TEXT}])
    before = server.cpu_seconds()
    found = load.wrk(server.url, bodies, connections=connections, seconds=seconds)
    spent = server.cpu_seconds() - before
    known = found.good > 0 and not found.failed  # wrk's latencies are over all answers
    return {
        "req/s": found.per_second,
        "p50 ms": found.p50 * 1000 if known else None,
        "p99 ms": found.p99 * 1000 if known else None,
        "CPU ms/request": spent * 1000 / found.good if found.good else None,
        "client CPU": found.client_seconds / found.seconds,
        "failed": found.failed,
    }
