"""Too little memory: a limit on the address space of a process, which engines meet as a machine without any more."""

import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import psutil


def leave(mib: int, pid: int = 0) -> None:
    """Let a process, this one if none is named, have no more than so many MiB beyond what it has."""
    has = psutil.Process(pid or None).memory_info().vms
    resource.prlimit(pid, resource.RLIMIT_AS, (has + mib * 2**20, resource.RLIM_INFINITY))


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *arguments).result()
