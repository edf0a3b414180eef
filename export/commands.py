"""Commands of this room: a run or a foreign model, through the gate, into a bundle of the store."""

import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from enfold import settings
from enfold.errors import WrongUse
from export import imports, onnx_file
from export.draft import Draft
from export.publish import check_name, publish
from export.runs import FinishedRun, find_run

Name = Annotated[str, typer.Option("--name", help="name of the bundle; each export is its next version")]


def export_run(run: Annotated[str, typer.Argument(help="id of a run, or its folder")], name: Name) -> dict[str, Any]:
    """Put a run's encoder and head through the gate into a bundle."""
    check_name(name)
    found = FinishedRun(find_run(run))
    return _published(lambda: found.draft(found.needs()), name)


def export_stage(run_path: Path, bundle: str, needs: tuple[str, ...]) -> dict[str, Any]:
    """What the export stage of a recipe does."""
    check_name(bundle)
    return _published(lambda: FinishedRun(run_path).draft(needs), bundle)
