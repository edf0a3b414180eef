"""Runs the graphs of a bundle: arrays in, arrays out. Knows nothing of HTTP or what the arrays mean.

A runtime is a file of this folder with `load(path, *, threads, variant) -> Session`; the engine is imported inside it.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Protocol

from enfold.errors import UnknownName, WrongUse
from enfold.modalities import Arrays

DEFAULT = "onnxruntime"
IN_PROCESS = (DEFAULT, "openvino", "cuda", "tensorrt")  # what `auto` tries; triton is another machine's answer
# Variants that need a certain engine, because it narrows the fp32 graph itself; every runtime runs the others.
_NEEDS = {"bf16": ("openvino",)}


class Session(Protocol):
    """One graph, ready to run; safe to call from several threads."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, inputs: Arrays, only: Sequence[str] | None = None) -> Arrays:
        """Outputs by name; `only` those asked for, for which less is copied or sent."""
        ...


def names() -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(__path__))


def for_variant(variant: str) -> tuple[str, ...]:
    """The runtimes that can run a variant, the usual one first."""
    return _NEEDS.get(variant, (DEFAULT, *(name for name in names() if name != DEFAULT)))


def load(runtime: str, path: Path, *, threads: int, variant: str = "fp32") -> Session:
    """Open the graph file with the named runtime. Raises UnknownName, WrongUse, MissingExtra, BundleInvalid or
    Unavailable.
    """
    if runtime not in names():
        raise UnknownName.among("runtime", runtime, names())
    if runtime not in for_variant(variant):
        raise WrongUse(f"runtime '{runtime}' cannot run variant '{variant}'; {', '.join(for_variant(variant))} can")
    session: Session = import_module(f"{__name__}.{runtime}").load(path, threads=threads, variant=variant)
    return session
