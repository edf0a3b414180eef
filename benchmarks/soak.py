"""Does a server grow or tire? Its memory, open files and slowest answers over an hour of texts, images, proteins and
series in turn.

MINUTES is how long (`make soak MINUTES=10`). Quickly, for two minutes, and with a text encoder that does nothing.
"""

import os

import numpy as np
import orjson

from benchmarks.harness import items, load, peers
from benchmarks.harness.report import Result, Row
from enfold import modalities, settings, store
from enfold.settings import Settings
from tests import bundles, examples

MINUTES, QUICK_MINUTES = float(os.environ.get("MINUTES", "60")), 2.0
CONNECTIONS, SAMPLES = 16, 20
GROWTH_MB = 1.0  # at most, in 10,000 requests
DRIFT = 1.5  # of the last quarter's median p99 to the first's, at most
FILES = 16  # more than at the start, at most
_WARM = 0.2  # share of the samples before memory is expected to be flat
_OTHERS = {"image": bundles.image_bundle, "protein": bundles.protein_bundle, "series": bundles.series_bundle}


def run(quick: bool) -> Result:
    config, minutes = settings.load(), QUICK_MINUTES if quick else MINUTES
    texts, bodies = _bodies(config, quick)
    system = peers.enfold(config, texts, *(f"soak_{kind}" for kind in _OTHERS))
    rows: list[Row] = []
    done = failed = 0
    with peers.running(system, config.home / "benchmarks") as server:
        load.wrk(server.url, bodies, connections=CONNECTIONS, seconds=5)
        for sample in range(SAMPLES):
            found = load.wrk(server.url, bodies, connections=CONNECTIONS, seconds=60 * minutes / SAMPLES)
            done, failed = done + found.good, failed + sum(found.failed.values())
            row = {"minutes": (sample + 1) * minutes / SAMPLES, "requests": done, "MB": server.memory_bytes() / 2**20}
            rows.append({**row, "files": server.files(), "p99 ms": 1000 * found.p99, "req/s": found.per_second})
            if not found.good:
                break
    flat = rows[int(len(rows) * _WARM) :]
    slope = float(np.polyfit([row["requests"] for row in flat], [row["MB"] for row in flat], 1)[0]) * 10_000
    quarter = max(len(flat) // 4, 1)
    first, last = (float(np.median([row["p99 ms"] for row in part])) for part in (flat[:quarter], flat[-quarter:]))
    more = rows[-1]["files"] - rows[0]["files"]
    about = {
        "MB in 10,000 requests": slope,
        "p99, last to first": last / first,
        "more files": more,
        "not answered": failed,
    }
    wrong = [
        f"{failed} requests were not answered." if failed else "",
        f"Memory grew by {slope:.2f} MB in 10,000 requests; at most {GROWTH_MB:g}." if slope > GROWTH_MB else "",
        f"The slowest answers took {last / first:.2f} times as long at the end." if last > DRIFT * first else "",
        f"{more} more files were open at the end." if more > FILES else "",
    ]
    return Result({"Of one server:": rows}, about, " ".join(filter(None, wrong)))


def _bodies(config: Settings, quick: bool) -> tuple[str, list[bytes]]:
    """The bundle of texts, and a request of one item of each kind in turn."""
    texts = items.dummy(config) if quick else "minilm"
    lines = [" ".join(bundles.WORDS[2:])] * 64 if quick else items.texts(config, 1024)
    wired = {"text": items.wire(lines)}
    for kind, make in _OTHERS.items():
        if not store.versions(config.bundles, f"soak_{kind}"):
            make(config.bundles, f"soak_{kind}")
        file = next(iter(examples.examples(kind).files.values()))
        wired[kind] = items.wire([file.decode() if modalities.get(kind).written else file])
    names = {"text": texts} | {kind: f"soak_{kind}" for kind in _OTHERS}
    found = []
    for number in range(len(lines)):
        for kind, ready in wired.items():
            [value] = ready[number % len(ready)].values()
            found.append(orjson.dumps({"model": names[kind], "items": [{kind: value}]}))
    return texts, found
