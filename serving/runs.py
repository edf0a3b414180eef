"""Training runs of this home, as their folders tell: stages, figures, curves. Nothing is loaded or written."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from enfold import wire
from enfold.errors import Unavailable, UnknownName

ROWS = 1000  # of a curve; of a longer one, rows evenly apart


def every(runs: Path) -> list[wire.RunInfo]:
    """The newest first; one whose files are damaged is left out."""
    found = []
    for folder in _folders(runs):
        with suppress(Unavailable):
            found.append(wire.RunInfo(**_facts(folder)))
    return sorted(found, key=lambda run: run.created, reverse=True)


def one(runs: Path, id: str) -> wire.Run:
    """A run with its curves. Raises UnknownName, or Unavailable for one whose files are damaged."""
    folder = next((folder for folder in _folders(runs) if folder.name == id), None)
    if folder is None:
        raise UnknownName.among("run", id, [folder.name for folder in _folders(runs)])
    facts = _facts(folder)
    curves = {stage.name: _curve(folder / "stages" / stage.name / "curves.jsonl") for stage in facts["stages"]}
    return wire.Run(**facts, curves={name: rows for name, rows in curves.items() if rows})


def _folders(runs: Path) -> list[Path]:
    return [file.parent for file in runs.glob("*/run.json")] if runs.is_dir() else []


def _facts(folder: Path) -> dict[str, Any]:
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError) as error:
        raise Unavailable(
            f"{folder} cannot be read as a run ({error!r}): give its command again, or remove it"
        ) from None


def _read(folder: Path) -> dict[str, Any]:
    story, recipe = (json.loads((folder / name).read_bytes()) for name in ("run.json", "recipe.json"))
    stages = []
    for stage in recipe["stage"]:
        known = {"state": "waiting"} | story["stages"].get(stage["name"], {})
        told = {name: known[name] for name in ("state", "seconds", "figures") if name in known}
        stages.append(wire.RunStage(name=stage["name"], verb=stage["verb"], **told))
    written = max(file.stat().st_mtime for file in (folder / "run.json", *folder.glob("stages/*/curves.jsonl")))
    heard = datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
    data = story["data"]
    facts = {name: story[name] for name in ("id", "recipe", "created", "state")}
    return facts | {"data": data["name"], "items": data["items"], "heard": heard, "stages": stages}


def _curve(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    lines = file.read_text().splitlines()
    rows: list[dict[str, Any]] = []
    for line in lines[:: max(1, -(-len(lines) // ROWS))]:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # the one that is being written
    return rows
