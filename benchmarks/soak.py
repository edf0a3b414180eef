"""Does a server grow? Its memory over 100,000 requests of ragged texts."""

import numpy as np

from benchmarks.harness import items, load, peers
from benchmarks.harness.report import Result, Row
from enfold import settings

REQUESTS, QUICK_REQUESTS = 100_000, 5_000
CONNECTIONS, SAMPLES = 16, 20
GROWTH_MB = 1.0  # at most, in 10,000 requests
_WARM = 0.2  # share of the samples before memory is expected to be flat


def run(quick: bool) -> Result:
    config, most = settings.load(), QUICK_REQUESTS if quick else REQUESTS
    system = peers.enfold(config, "minilm")
    bodies = system.bodies(items.wire(items.texts(config, 4096)))
    rows: list[Row] = []
    with peers.running(system, config.home / "benchmarks") as server:
        done, failed = 0, 0
        pace = load.wrk(server.url, bodies, connections=CONNECTIONS, seconds=5).per_second
        while done < most:
            found = load.wrk(server.url, bodies, connections=CONNECTIONS, seconds=max(most / SAMPLES / pace, 1))
            done, failed = done + found.good, failed + sum(found.failed.values())
            rows.append({"requests": done, "MB": server.memory_bytes() / 2**20, "req/s": found.per_second})
            if not found.good:
                break
    flat = rows[int(len(rows) * _WARM) :]
    slope = float(np.polyfit([row["requests"] for row in flat], [row["MB"] for row in flat], 1)[0]) * 10_000
    about = {"MB in 10,000 requests": slope, "not answered": failed}
    too_much = f"Memory grew by {slope:.2f} MB in 10,000 requests; at most {GROWTH_MB:g}." if slope > GROWTH_MB else ""
    return Result({"Resident memory:": rows}, about, f"{failed} requests were not answered." if failed else too_much)
