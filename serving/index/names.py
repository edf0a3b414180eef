"""Ids, field names and names of collections as Qdrant wants them, whichever way it is reached."""

import re
import uuid

from enfold.errors import WrongUse

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def uuid_of(id: str) -> str:
    if _CANONICAL.fullmatch(id):  # nearly every id: parsing costs many times as much
        return id
    try:
        return str(uuid.UUID(id))
    except ValueError:
        raise WrongUse(f"point id {id[:60]!r} is not a UUID") from None


def generation_of(address: str) -> tuple[str, int | None]:
    """A collection's name and which of its generations is meant: photos@2, or None for the one that `photos` means."""
    name, at, number = address.partition("@")
    return name, int(number) if at and number.isdecimal() and len(number) < 10 else 0 if at else None


def path_of(field: str) -> str:
    """A field's name as the engine's JSON path, dots and spaces being part of the name."""
    if '"' in field:
        raise WrongUse(f"payload field {field[:60]!r}: a name with quotes can be stored but not searched by")
    return f'"{field}"'
