"""Runs the graphs of a bundle: arrays in, arrays out. Knows nothing of files, HTTP or what the arrays mean.

A runtime is a file of this folder with `load(path, threads) -> Session`; the engine is imported inside it.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Protocol

from enfold.errors import UnknownName
from enfold.modalities import Arrays


class Session(Protocol):
    """One graph, ready to run; safe to call from several threads."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, inputs: Arrays) -> Arrays: ...


def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))


def load(runtime: str, path: Path, *, threads: int) -> Session:
    """Open the graph file with the named runtime. Raises UnknownName, MissingExtra or BundleInvalid."""
    if runtime not in names():
        raise UnknownName.among("runtime", runtime, names())
    session: Session = import_module(f"{__name__}.{runtime}").load(path, threads=threads)
    return session
