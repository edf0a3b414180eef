"""Measurements against other systems; each file here is one, `enfold bench NAME` runs it.

    run(quick) -> Result     what every file has

Results are kept in ENFOLD_HOME/benchmarks, or published into docs/performance, whence docs/performance.md and
docs/reliability.md have their tables. A peer is never a requirement: it is installed into an environment of its own
when it is measured.
"""

import json
import signal
import sys
import time
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.harness import report
from enfold import settings
from enfold.errors import EnfoldError, UnknownName
from enfold.tables import table


class NotReached(EnfoldError):
    """A benchmark ran and its figures are not what they must be."""

    code = "not_reached"


def names() -> list[str]:
    return sorted(module.name for module in iter_modules(__path__) if not module.ispkg)


def bench(
    name: Annotated[str, typer.Argument(help="a file of benchmarks/")],
    quick: Annotated[bool, typer.Option("--quick", help="fewer and shorter runs")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="into docs/performance, and its tables into the pages")
    ] = False,
) -> dict[str, Any]:
    """Measure against other systems."""
    if name not in names():
        raise UnknownName.among("benchmark", name, names())
    started, config = time.monotonic(), settings.load()
    cache = config.home / "benchmarks"  # of environments, logs and results
    cache.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers that were started are stopped
    result = import_module(f"{__name__}.{name}").run(quick)
    found = report.record(name, result, quick, time.monotonic() - started)
    folder = report.PUBLISHED if publish else cache
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    if publish:
        report.write_pages()
    if result.wrong:
        Console(stderr=True).print(table(result.tables))
        raise NotReached(f"{result.wrong} The figures are in {folder / name}.json")
    return {**result.tables, **result.about, "kept in": str(folder / f"{name}.json")}
