"""A point of an index: what gives it the same id in every run, so that embedding again replaces instead of adding."""

import uuid

from enfold.modalities import Part

_POINTS = uuid.UUID("5f0c1b52-4f0e-5d0b-9d4b-6f1c7f2c1e11")  # the namespace of all our points; must never change


def point_id(source: str, item: str, part: Part | None = None) -> str:
    """uuid5 of source, item and part.

    source   where items come from: the URI of a folder, file or table
    item     which one: its path in the folder, its row or id in the table
    """
    return str(uuid.uuid5(_POINTS, f"{source}\0{item}\0{'' if part is None else part.index}"))
