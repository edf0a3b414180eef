"""What happens when far more is asked than can be done? Goodput, refusals and what they cost.

Good answers per second against those at the load that just saturates: first with ten times the clients, who wait as
they are told to; then with ten times the rate, of requests that take long, whatever the server says. A request that
takes long is as many long texts as cost 50 ms of the processor.
"""

import asyncio
import math
from collections.abc import Sequence

from benchmarks.harness import items, load, peers
from benchmarks.harness.report import Result, Row
from enfold import settings
from enfold.settings import Settings

SATURATING, SATURATING_SLOW, TIMES = 64, 16, 10  # clients; ten times as many
SECONDS, QUICK_SECONDS = 30, 8
SLOW_TOKENS, LEAST_CPU_MS = 256, 50
REFUSED = 429


def run(quick: bool) -> Result:
    config, seconds = settings.load(), QUICK_SECONDS if quick else SECONDS
    system, cache = peers.enfold(config, "minilm"), config.home / "benchmarks"
    texts = system.bodies(items.wire(items.texts(config, 512)))
    long = items.wire(items.texts(config, 512, tokens=SLOW_TOKENS))
    with peers.running(system, cache) as server:
        crowd = _crowd(server, texts, seconds)
        alone = _closed(server, system.bodies(long), "long texts", SATURATING_SLOW, seconds / 2)
        slow = system.bodies(long, math.ceil(LEAST_CPU_MS / alone["CPU ms/answer"]))
        flood = _flood(server, slow, seconds)
    rows = [*crowd, *flood]
    errors = {
        status: count for row in rows for status, count in row["statuses"].items() if status not in ("200", "429")
    }
    about = {"seconds of each": seconds, "CPU ms of a refusal": _refusal(config, slow, flood[0]["good/s"], seconds)}
    return Result(
        {"Overload:": rows},
        about,
        f"Neither answered nor refused: {errors}." if errors else "",
    )


def _crowd(server: peers.Server, bodies: Sequence[bytes], seconds: float) -> list[Row]:
    """As many clients as saturate, and ten times as many that wait as Retry-After says."""
    saturated = _closed(server, bodies, "as many clients as saturate", SATURATING, seconds)
    crowd = _closed(server, bodies, "ten times the clients, patient", SATURATING * TIMES, seconds)
    return [saturated, crowd | {"of peak": crowd["good/s"] / saturated["good/s"]}]


def _closed(server: peers.Server, bodies: Sequence[bytes], name: str, clients: int, seconds: float) -> Row:
    client, before = load.Client(server.url, bodies), server.cpu_seconds()
    wall, cpu = load.run(client.closed(clients, seconds=seconds, pause=lambda asked: asked.retry_after))
    return _row(name, client, wall, cpu, server.cpu_seconds() - before, len(client.asked) / wall)


def _flood(server: peers.Server, bodies: Sequence[bytes], seconds: float) -> list[Row]:
    """Slow requests at the rate that saturates, and at ten times that."""
    saturated = _closed(server, bodies, "slow requests, as many clients as saturate", SATURATING_SLOW, seconds)
    rate = saturated["good/s"] * TIMES
    client, before = load.Client(server.url, bodies), server.cpu_seconds()
    wall, cpu = load.run(client.open(rate, seconds))
    flood = _row("slow requests, ten times the rate", client, wall, cpu, server.cpu_seconds() - before, rate)
    return [saturated, flood | {"of peak": flood["good/s"] / saturated["good/s"]}]


def _row(name: str, client: load.Client, wall: float, cpu: float, served: float, offered: float) -> Row:
    good = [asked for asked in client.asked if asked.status == 200]
    refused = [asked for asked in client.asked if asked.status == REFUSED]
    accepted, refusals = load.latencies(good), load.latencies(refused)
    return {
        "load": name,
        "offered/s": offered,
        "good/s": len(good) / wall,
        "of peak": None,
        "p50 ms": accepted["p50 ms"],
        "p99 ms": accepted["p99 ms"],
        "refusals' p99 ms": refusals["p99 ms"],
        "CPU ms/answer": served * 1000 / len(good) if good else math.inf,
        "client CPU": cpu / wall,
        "statuses": load.statuses(client.asked),
    }


def _refusal(config: Settings, bodies: Sequence[bytes], rate: float, seconds: float) -> float:
    """Milliseconds of the server's CPU for one refusal.

    A server that computes on one thread is kept busy by a few clients who ask again at once, and its CPU is taken for
    a while; then for as long again with many more requests, nearly all refused. Computing takes its one thread's time
    in both, so that the difference is what the refusals took.
    """
    with peers.running(peers.enfold(config, "minilm", threads=1), config.home / "benchmarks") as server:
        busy, flood = load.Client(server.url, bodies), load.Client(server.url, bodies)
        marks: list[float] = []

        async def scene() -> None:
            asking = asyncio.create_task(busy.closed(SATURATING_SLOW, seconds=1 + 2 * seconds, pause=_soon))
            await asyncio.sleep(1)
            marks.append(server.cpu_seconds())
            await asyncio.sleep(seconds)
            marks.append(server.cpu_seconds())
            flooding = asyncio.create_task(flood.open(rate * TIMES, seconds))
            await asyncio.sleep(seconds)
            marks.append(server.cpu_seconds())
            await asyncio.gather(asking, flooding)

        load.run(scene())
    refused = sum(asked.status == REFUSED for asked in flood.asked)
    began, without, with_them = marks
    return ((with_them - without) - (without - began)) * 1000 / max(refused, 1)


def _soon(asked: load.Asked) -> float:
    """A pause that leaves a queue no time to run empty."""
    return min(asked.retry_after, 0.2)
