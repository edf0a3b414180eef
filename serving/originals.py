"""The item behind a point, read once more from where a job found it.

Nothing is given out but what a job of this home has read for the collection: payloads are what callers made them, and
must not lead to other files.
"""

from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from enfold import modalities
from enfold.archives import Packed
from enfold.errors import EnfoldError, UnknownName
from enfold.modalities import Modality
from enfold.settings import Settings
from serving.jobs import record
from serving.jobs.ledger import Ledger
from serving.jobs.source import Item, open_source, uri_of


def original(settings: Settings, collection: str, modality: str, payload: dict[str, Any]) -> tuple[bytes, str]:
    """The item's content and media type: a file, a .zip of its folder, a text, or a row as JSON.

    Raises UnknownName for one that no job has read, or that is no longer there as it was.
    """
    source, key = payload.get("source"), str(payload.get("item"))
    for file in ledgers(settings, collection).get(str(source), []):
        with closing(Ledger(file)) as ledger:
            done = ledger.state(key)
        if done is None:
            continue
        items = open_source(str(source), modality=modality, data=settings.data).items()
        item = next((item for item in items if item.key == key), None)
        if item is not None and item.state() == done:
            return _content(item, modalities.get(modality)(None))
        raise UnknownName(f"'{key}' of {source} has changed or gone since it was embedded: embed the source again")
    raise UnknownName(f"the item of this point is not kept here: {source or 'nobody'} sent its vector or its bytes")


def ledgers(settings: Settings, collection: str) -> dict[str, list[Path]]:
    """What jobs of this home have read for a collection: URIs of sources, with the ledgers that tell which items."""
    found: dict[str, list[Path]] = {}
    for file in sorted(settings.jobs.glob("*/ledger.sqlite")):
        command = record.read(file.parent).command
        if f"index://{collection}" in command:
            with suppress(EnfoldError):  # a source that is not there any more
                found.setdefault(uri_of(command[2], data=settings.data), []).append(file)
    return found


def _content(item: Item, kind: Modality[Any]) -> tuple[bytes, str]:
    if isinstance(item.raw, str | bytes):
        content = item.raw.encode() if isinstance(item.raw, str) else item.raw
        return content, "application/json" if kind.rows else "text/plain; charset=utf-8"
    if isinstance(item.raw, Path) and item.raw.is_dir():
        return modalities.zipped(item.raw, kind.members), "application/zip"
    name = item.raw.name.lower()
    types = kind.media_types | kind.shared_types
    media = next((types[suffix] for suffix in types if name.endswith(suffix)), "application/octet-stream")
    return _bytes(item.raw, kind), media


def _bytes(place: Path | Packed, kind: Modality[Any]) -> bytes:
    try:
        return kind.file_bytes(place)
    except OSError as error:
        raise UnknownName(f"{place.name} cannot be read: {error.strerror or error}") from None
