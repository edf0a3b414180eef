"""Items of a job decoded and embedded by the workers of a Ray cluster (`enfold embed --engine ray`).

A worker is an actor with a model of its own. A call hands it SHARD_ITEMS items; calls are answered in the order of the
items, so that files, ledger and index come out as those of a job in one process. Ray starts a worker that died again
and repeats its calls. Every machine reads the items where the source says they lie, and the bundle in its ENFOLD_HOME:
a shared folder, or an object store and a copy.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from enfold.errors import EnfoldError, Unavailable, WrongUse
from enfold.model import Model
from enfold.settings import Settings
from enfold.space import same_space
from serving.jobs import pipeline
from serving.jobs.pipeline import Made, Make, Maker
from serving.jobs.source import Item

LIVES = 3  # of one worker, before the job stops
_CALLS = 2  # of one worker that are under way or wait
_ON_A_GPU = ("cuda", "tensorrt")


class Worker:
    """Makes shards in a process of its own."""

    def __init__(self, opening: Callable[[], Model], maker: Callable[[Model], Maker], space: str, threads: int):
        self._opening, self._maker_of, self._space, self._threads = opening, maker, space, threads

    def make(self, items: list[Item]) -> list[Made]:
        return list(self._maker.make(items, self._threads))

    @cached_property
    def _maker(self) -> Maker:
        """Opened by the first call: what goes wrong there is the call's error, not an actor's that cannot start."""
        model = self._opening()
        same_space(model.facts().space, self._space, what=f"the worker's {model.bundle.ref}", where="the job")
        return self._maker_of(model)


@contextmanager
def workers(
    opening: Callable[[], Model], maker: Callable[[Model], Maker], space: str, count: int | None, config: Settings
) -> Iterator[Make]:
    """Workers of the cluster that RAY_ADDRESS names, or of one that is started on this machine and ended with the job.

    opening, maker   what opens the model, in a worker; what makes points with it
    space            the model's: a worker that finds another bundle refuses
    count            as many as there is room for, if None. Raises WrongUse where there is not enough
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        needs = {"num_cpus": config.threads, "num_gpus": 1 if config.runtime in _ON_A_GPU else 0}
        room = _room(needs)
        if room < (count or 1):
            each = f"{needs['num_cpus']} CPUs (ENFOLD_THREADS)" + (" and a GPU" if needs["num_gpus"] else "")
            raise WrongUse(f"workers {count or 1}: the cluster has room for {room} of {each} each")
        actor: Any = ray.remote(Worker).options(max_restarts=LIVES - 1, max_task_retries=LIVES - 1, **needs)
        actors = [actor.remote(opening, maker, space, config.threads) for _ in range(count or room)]
        yield lambda items: _made(actors, items)
    finally:
        ray.shutdown()


def _room(needs: dict[str, int]) -> int:
    """How many workers fit on the machines of the cluster."""
    has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return sum(min(int(one.get(names[name], 0) // each) for name, each in needs.items() if each) for one in has)


def _made(actors: list[Any], items: Iterable[Item]) -> Iterator[Made]:
    """Shards in the order of the items; the next ones are under way meanwhile."""
    items, waiting, busy = iter(items), deque[Any](), dict[Any, Any]()
    while some := list(islice(items, pipeline.SHARD_ITEMS)):
        if len(waiting) == _CALLS * len(actors):
            yield from _answer(waiting.popleft())
        done, _ = ray.wait(list(busy), num_returns=len(busy), timeout=0) if busy else ([], [])
        for call in done:
            del busy[call]
        calls = Counter(busy.values())
        actor = min(actors, key=lambda one: calls[one])
        call = actor.make.remote(some)
        busy[call] = actor
        waiting.append(call)
    while waiting:
        yield from _answer(waiting.popleft())


def _answer(call: Any) -> list[Made]:
    try:
        made: list[Made] = ray.get(call)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, EnfoldError) else error from None
    except RayActorError as error:
        why = str(error).partition("\n")[0]
        raise Unavailable(
            f"a worker was lost {LIVES} times ({why}): the same command goes on where this one was"
        ) from None
    return made
