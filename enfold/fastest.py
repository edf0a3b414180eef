"""Which runtime is the fastest for a bundle on this machine: measured on its golden items when it is opened."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from enfold import runtime as runtimes
from enfold.errors import BundleInvalid, MissingExtra
from enfold.golden import Golden, check
from enfold.runtime import Session

_ITEMS = 2  # of the golden ones that are timed; the fastest must give the vectors of all
_RUNS, _SECONDS = 5, 0.1  # of one runtime: so many passes over them, or so long; the best one counts


@dataclass(frozen=True)
class Choice:
    runtime: str
    why: str  # a sentence with the milliseconds of every runtime that was tried
    sessions: dict[str, Session]  # graph -> opened in it


def fastest(golden: list[Golden], variant: str, load: Callable[[str, str], Session]) -> Choice:
    """The fastest runtime of those installed that gives the golden vectors.

    golden   of every entry of the bundle
    load     (runtime, graph) -> the opened graph

    Raises what the first runtime raised if none is fit.
    """
    timed, said, failures, missing = [], [], list[Exception](), list[Exception]()
    for name in runtimes.IN_PROCESS:
        if name not in runtimes.for_variant(variant):
            continue
        try:
            sessions = {one.graph: load(name, one.graph) for one in golden}
            timed.append((_seconds(golden, sessions), name, sessions))
            said.append(f"{name} {1000 * timed[-1][0]:.3g} ms")
        except MissingExtra as error:
            missing.append(error)
        except Exception as error:  # engines raise classes of their own
            failures.append(error)
            said.append(f"{name} is not fit ({str(error).splitlines()[0]})")
    for _, name, sessions in sorted(timed, key=lambda one: one[0]):
        try:
            check(golden, sessions.__getitem__, f"{name} ({variant})")
        except BundleInvalid as error:
            failures.append(error)
            said.append(f"{name} is not fit ({error})")
            continue
        return Choice(name, f"fastest here on {_ITEMS} golden items: {', '.join(said)}", sessions)
    raise (failures or missing)[0]


def _seconds(golden: list[Golden], sessions: dict[str, Session]) -> float:
    """The best of a few passes, after one in which engines plan and allocate."""
    batches = [(one.graph, {name: array[:_ITEMS] for name, array in one.inputs.items()}) for one in golden]
    best, until = float("inf"), time.perf_counter() + _SECONDS
    for run in range(1 + _RUNS):
        started = time.perf_counter()
        for graph, inputs in batches:
            sessions[graph].run(inputs, ("out_embedding",))
        if run:
            best = min(best, time.perf_counter() - started)
            if time.perf_counter() > until:
                break
    return best
