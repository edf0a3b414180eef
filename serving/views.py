"""Views of a collection's map that somebody saved under a name: <home>/views/<collection>.json, whole or not at all."""

import os
import threading
from pathlib import Path

from pydantic import TypeAdapter

from enfold import wire
from enfold.errors import TooLarge, UnknownName
from enfold.settings import Settings
from serving.index.names import generation_of

MOST = 200  # of a collection
_FILE = TypeAdapter(list[wire.View])
_writing = threading.Lock()


def views(settings: Settings, collection: str) -> list[wire.View]:
    """By name."""
    file = _file(settings, collection)
    return _FILE.validate_json(file.read_bytes()) if file.exists() else []


def save(settings: Settings, collection: str, view: wire.View) -> wire.View:
    """In place of one of the same name. Raises TooLarge."""
    with _writing:
        others = [one for one in views(settings, collection) if one.name != view.name]
        if len(others) >= MOST:
            raise TooLarge(f"'{collection}' has {MOST} saved views, which is the most: delete one first")
        _write(settings, collection, sorted([*others, view], key=lambda one: one.name))
    return view


def forget(settings: Settings, collection: str, name: str) -> None:
    """Raises UnknownName."""
    with _writing:
        kept = views(settings, collection)
        others = [one for one in kept if one.name != name]
        if len(others) == len(kept):
            raise UnknownName.among(f"saved view of '{collection}':", name, [one.name for one in kept])
        _write(settings, collection, others)


def forget_all(settings: Settings, collection: str) -> None:
    """Those of a collection that is dropped; of one of its generations nothing."""
    if "@" not in collection:
        _file(settings, collection).unlink(missing_ok=True)


def _file(settings: Settings, collection: str) -> Path:
    """Of a collection, whichever of its generations is named."""
    return settings.views / f"{generation_of(collection)[0]}.json"


def _write(settings: Settings, collection: str, kept: list[wire.View]) -> None:
    settings.views.mkdir(parents=True, exist_ok=True)
    file = _file(settings, collection)
    draft = file.with_suffix(".draft")
    draft.write_bytes(_FILE.dump_json(kept, indent=1))
    os.replace(draft, file)
