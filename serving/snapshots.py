"""A collection as a folder, to be kept elsewhere and brought back by any engine: the same on the embedded index and a
Qdrant server, so that it is also the way from one to the other.

    collection.json    what it is, how many points it has, and the sha256 of the other files
    points.parquet     id, vector, payload (JSON), thumbnail; tokens where the collection keeps them
    layout.parquet     where they lie on the map, if that is known; likewise health.parquet
"""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from pyarrow import parquet
from pydantic import BaseModel, ValidationError

from enfold import settings, wire
from enfold.bundle import sha256
from enfold.errors import Conflict, Unavailable, WrongUse
from serving import reach
from serving.index import arrow

VERSION = 1  # of the folder; one of enfold 0.1 is the same, and does not say
_FACTS, _POINTS = "collection.json", "points.parquet"

Collection = Annotated[str, typer.Argument(help="name of the collection")]


class Facts(BaseModel):
    version: int = VERSION
    collection: wire.NewCollection
    points: int
    files: dict[str, str]  # name -> sha256


def snapshot(
    collection: Collection, to: Annotated[Path, typer.Option(help="a folder that is not there yet")]
) -> dict[str, Any]:
    """Write a collection with its pictures, layout and health into a folder."""
    if to.exists():
        raise Conflict(f"{to} exists already: give a folder that does not")
    draft = to.with_name(f".{to.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        with reach.collections(settings.load()) as home:
            info = home.collection(collection)
            points = home.points(collection, thumbnails=True, tokens=True)
            parquet.write_table(points, draft / _POINTS, compression="zstd")
            for kind, schema in arrow.NOTES.items():
                if getattr(info, f"has_{kind}"):
                    notes = getattr(home, kind)(collection).select(schema.names)
                    parquet.write_table(notes, draft / f"{kind}.parquet", compression="zstd")
        facts = Facts(
            collection=wire.NewCollection(**info.model_dump(include=set(wire.NewCollection.model_fields))),
            points=len(points),
            files={file.name: sha256(file) for file in sorted(draft.iterdir())},
        )
        (draft / _FACTS).write_text(facts.model_dump_json(indent=1))
        draft.rename(to)
    except OSError as error:
        raise Unavailable(f"{to} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return {"collection": collection, "points": facts.points, "to": str(to)}


def restore(
    folder: Annotated[Path, typer.Argument(help="what `enfold index snapshot` wrote")],
    name: Annotated[str | None, typer.Option(help="of the collection; its own if left out")] = None,
) -> dict[str, Any]:
    """Bring a collection back from its folder, into one that is not there or empty."""
    facts = _verified(folder)
    try:
        new = wire.NewCollection(**facts.collection.model_dump() | ({"name": name} if name else {}))
    except ValidationError as error:
        raise WrongUse(f"--name {name!r}: {error.errors()[0]['msg']}") from None
    with reach.collections(settings.load()) as home:
        if home.create_collection(new).points:
            raise Conflict(f"collection '{new.name}' has points: drop it first, or give another --name")
        points = parquet.read_table(folder / _POINTS)
        for piece in arrow.pieces(points):
            home.upsert(new.name, piece)
        for kind in arrow.NOTES:
            if f"{kind}.parquet" in facts.files:
                getattr(home, f"set_{kind}")(new.name, parquet.read_table(folder / f"{kind}.parquet"))
        return {"collection": new.name, "points": home.collection(new.name).points}


def _verified(folder: Path) -> Facts:
    """What a snapshot says of itself, its files as they were written. Raises WrongUse."""
    try:
        told = json.loads((folder / _FACTS).read_bytes())
        if isinstance(told, dict) and isinstance(version := told.get("version"), int) and version > VERSION:
            raise WrongUse(
                f"{folder} is a snapshot of version {version}; this enfold reads up to {VERSION}: upgrade it"
            )
        facts = Facts.model_validate(told)
    except (OSError, ValueError):
        raise WrongUse(f"{folder} is no snapshot: it has no {_FACTS} as 'enfold index snapshot' writes it") from None
    known = {_POINTS, *(f"{kind}.parquet" for kind in arrow.NOTES)}
    for file, digest in facts.files.items():
        if file not in known or not (folder / file).is_file() or sha256(folder / file) != digest:
            raise WrongUse(f"{folder}: '{file}' is not what was written: it was changed or damaged, copy it again")
    if _POINTS not in facts.files:
        raise WrongUse(f"{folder} is no snapshot: {_FACTS} lists no {_POINTS}")
    return facts
