"""Runs the graphs of a bundle: arrays in, arrays out. Knows nothing of HTTP or what the arrays mean.

A runtime is a file of this folder with `load(path, *, threads, variant) -> Session`; the engine is imported inside it.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Protocol

from enfold.errors import OutOfMemory, UnknownName, WrongUse
from enfold.modalities import Arrays

DEFAULT = "onnxruntime"
IN_PROCESS = (DEFAULT, "openvino", "cuda", "tensorrt")  # what `auto` tries; triton is another machine's answer
# Variants that need a certain runtime: it narrows the fp32 graph itself, or the file is no graph; all run the others.
_NEEDS = {"bf16": ("openvino",), "trt_fp16": ("tensorrt",)}
# What engines say where they are given no memory: none has a class of its own for it.
_NO_MEMORY = re.compile(r"bad_alloc|failed to allocate|can't alloc|out of memory", re.IGNORECASE)


class Session(Protocol):
    """One graph, ready to run; safe to call from several threads."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, inputs: Arrays, only: Sequence[str] | None = None) -> Arrays:
        """Outputs by name; `only` those asked for, for which less is copied or sent. Raises OutOfMemory, and what else
        the engine raises.
        """
        ...


def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))


def for_variant(variant: str) -> tuple[str, ...]:
    """The runtimes that can run a variant, the usual one first."""
    return _NEEDS.get(variant, (DEFAULT, *(name for name in names() if name != DEFAULT)))


def load(runtime: str, path: Path, *, threads: int, variant: str = "fp32") -> Session:
    """Open the graph file with the named runtime. Raises UnknownName, WrongUse, MissingExtra, BundleInvalid,
    OutOfMemory or Unavailable.
    """
    if runtime not in names():
        raise UnknownName.among("runtime", runtime, names())
    if runtime not in for_variant(variant):
        raise WrongUse(f"runtime '{runtime}' cannot run variant '{variant}'; {', '.join(for_variant(variant))} can")
    with enough_memory(path.stem):
        session: Session = import_module(f"{__name__}.{runtime}").load(path, threads=threads, variant=variant)
    return session


@contextmanager
def enough_memory(graph: str) -> Iterator[None]:
    """Around what an engine does with a graph: raises OutOfMemory for whatever it raises where it gets no memory."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, MemoryError) and not _NO_MEMORY.search(str(error)):
            raise
        raise OutOfMemory(
            f"there is not the memory that graph {graph} needs: ask again later, or with a smaller item, or give the "
            "process more"
        ) from None
