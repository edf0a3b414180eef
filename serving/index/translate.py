"""Our words in the engine's: ids, fields, conditions; and what it must not be given."""

import uuid
from typing import Any

import numpy as np
import qdrant_edge as engine

from enfold import wire
from enfold.errors import WrongUse

MAX_LEVELS = 32  # of a payload: from about 120 the engine writes what it cannot read again


def uuid_of(id: str) -> str:
    try:
        return str(uuid.UUID(id))
    except ValueError:
        raise WrongUse(f"point id {id[:60]!r} is not a UUID") from None


def is_flat(value: Any, levels: int = MAX_LEVELS) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(is_flat(one, levels - 1) for one in inner)


def path_of(field: str) -> str:
    """A field's name as the engine's JSON path, dots and spaces being part of the name."""
    if '"' in field:
        raise WrongUse(f"payload field {field[:60]!r}: a name with quotes can be stored but not searched by")
    return f'"{field}"'


def condition_of(condition: wire.Condition) -> engine.Filter:
    # A Python bool would reach the engine as an integer; numpy's does not.
    values: list[Any] = [np.bool_(value) if isinstance(value, bool) else value for value in condition.any]
    path = path_of(condition.field)
    try:
        return engine.Filter(should=[engine.FieldCondition(path, match=engine.MatchValue(value)) for value in values])
    except TypeError:
        raise WrongUse(f"filter on '{condition.field[:60]}': an integer has at most 64 bits") from None
