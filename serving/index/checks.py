"""What no engine may be given: vectors, payloads and queries that make no sense, each refused in a sentence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from enfold import wire
from enfold.errors import Conflict, WrongUse
from enfold.space import same_space
from serving.index import Points, Query
from serving.index.names import uuid_of

MOST_DIVERSE = 1000  # hits that are chosen one after the other, each compared with all before it
MAX_LEVELS = 32  # of a payload or filter: from about 120 the embedded engine writes what it cannot read again


def check_points(points: Points, facts: wire.NewCollection) -> list[str]:
    """Ids of points that a collection can keep. Raises SpaceMismatch, or WrongUse naming the first that it cannot."""
    same_space(points.space, facts.space, what="what is sent", where=f"collection '{facts.name}'")
    check_vectors(points.vectors, facts)
    _check_tokens(points.tokens, facts)
    ids = [uuid_of(id) for id in points.ids]
    for id, payload in zip(ids, points.payloads, strict=True):
        if not is_flat(payload):
            raise WrongUse(f"the payload of point {id} nests deeper than {MAX_LEVELS} levels")
        try:
            orjson.dumps(payload)  # what cannot leave again must not come in, as an integer over 64 bits
        except TypeError as error:
            raise WrongUse(f"the payload of point {id} cannot be kept: {error}") from None
    return ids


def check_vectors(vectors: np.ndarray, facts: wire.NewCollection) -> None:
    """vectors [N, D]"""
    if vectors.ndim != 2 or vectors.shape[1] != facts.dimensions:
        raise WrongUse(
            f"collection '{facts.name}' holds vectors of {facts.dimensions} numbers, "
            f"this one has {vectors.shape[-1] if vectors.ndim else 0}"
        )
    if not np.isfinite(vectors).all():
        raise WrongUse("a vector holds a number that is not finite")


def _check_tokens(tokens: Sequence[np.ndarray] | None, facts: wire.NewCollection) -> None:
    if (tokens is None) != (facts.tokens is None):
        kept = (
            "keeps no tokens" if facts.tokens is None else f"keeps the tokens of its points, of {facts.tokens} numbers"
        )
        sent = "none came" if tokens is None else "some came"
        raise WrongUse(f"collection '{facts.name}' {kept}, and {sent} (column 'tokens' of a table)")
    for one in tokens or ():
        if one.ndim != 2 or not len(one) or one.shape[1] != facts.tokens:
            has = f"collection '{facts.name}' holds, of each point, one or more tokens of {facts.tokens} numbers"
            raise WrongUse(f"{has}; these are of shape {list(one.shape)}")
        if not np.isfinite(one).all():
            raise WrongUse("a token holds a number that is not finite")


def check_same(new: wire.NewCollection, have: wire.NewCollection, where: str) -> None:
    """Raises SpaceMismatch or Conflict unless what is asked for is what is there."""
    same_space(new.space, have.space, what=f"'{new.model}'", where=f"collection '{where}'")
    if new.tokens != have.tokens:
        kept = "no tokens" if have.tokens is None else f"tokens of {have.tokens} numbers"
        wanted = "none" if new.tokens is None else f"some of {new.tokens}"
        raise Conflict(f"collection '{where}' keeps {kept}, and {wanted} are asked for: see --tokens")


def check_query(asked: Query, facts: wire.NewCollection) -> None:
    for one in (asked.vector, *(side for pair in asked.context for side in pair)):
        if one is not None:
            check_vectors(one[None], facts)
    if asked.tokens is not None:
        _check_tokens([asked.tokens], facts)
        if asked.diversity or asked.context:
            raise WrongUse("late interaction is of one item: leave out 'diversity' and 'context'")
    if asked.diversity and (asked.vector is None or asked.context or asked.words is not None):
        raise WrongUse("'diversity' is of a search by likeness alone: leave out 'words' and 'context'")
    if asked.diversity and (reach := asked.limit + asked.offset) > MOST_DIVERSE:
        raise WrongUse(f"'diversity' is of the first {MOST_DIVERSE:,} hits; offset and limit ask for {reach:,}")


def kind_of(field: str, value: Any, *, words: bool) -> type:
    """The type by which a payload field is indexed: str for words, else of its first value. Raises WrongUse."""
    kind = type(value[0] if isinstance(value, list) and value else value)
    if words and kind is not str:
        raise WrongUse(f"field '{field}' holds {kind.__name__} values; words are searched in texts")
    if kind not in (str, bool, int):
        raise WrongUse(f"field '{field}' holds {kind.__name__} values; facets count str, int and bool")
    return kind


def is_flat(value: Any, levels: int = MAX_LEVELS) -> bool:
    """Whether JSON nests no deeper than so many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    nested = (one for one in inner if isinstance(one, dict | list))
    return levels >= 0 and (levels > 0 or not inner) and all(is_flat(one, levels - 1) for one in nested)
