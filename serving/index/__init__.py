"""Where points live: one protocol, its engines beside it in this folder.

A collection holds points of one space. Its name may come to mean another: a collection has generations, `photos@2` is
the second of `photos`, and switching is atomic. Knows nothing of models, of HTTP, or of how a vector came about.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from enfold import wire
from enfold.settings import Settings


@dataclass(frozen=True)
class Points:
    """N points of one space.

    ids         UUIDs, as enfold.points makes them
    vectors     float32 [N, D]
    payloads    JSON objects
    thumbnails  WebP of those points that have a picture, by id
    tokens      float32 [T, W] of each point, T its own, where the collection keeps them
    """

    ids: Sequence[str]
    vectors: np.ndarray
    payloads: Sequence[dict[str, Any]]
    space: str
    thumbnails: dict[str, bytes] = field(default_factory=dict)
    tokens: Sequence[np.ndarray] | None = None


@dataclass(frozen=True)
class Query:
    """What a collection is asked for, by at least one of vector, context and words.

    vector     float32 [D]: by cosine
    context    pairs of vectors [D], of which the first is better; with a vector, only the order among equals is its own
    words      by BM25 in the payload field `words_in`; beside a vector or a context, both rankings are fused
    tokens     float32 [T, W]: what the other rankings find is put in order by the sum, over these, of the best cosine
               to a token of the point (late interaction, Khattab and Zaharia 2020); `exact`, of all points
    but        ids that shall not be found
    filter     all conditions hold; or one filter in Qdrant's own words, which has paths where conditions have names
    diversity  0: the nearest to the vector; towards 1: the less alike (maximal marginal relevance)
    """

    vector: np.ndarray | None = None
    context: Sequence[tuple[np.ndarray, np.ndarray]] = ()
    words: str | None = None
    words_in: str = "text"
    fuse: Literal["rrf", "dbsf"] = "rrf"
    tokens: np.ndarray | None = None
    depth: int = 100  # of each ranking that is fused or put in order by tokens, and of what diversity chooses from
    but: Sequence[str] = ()
    filter: Sequence[wire.Condition] | dict[str, Any] = ()
    limit: int = 10
    offset: int = 0
    min_score: float | None = None
    diversity: float = 0
    exact: bool = False


class Collection(Protocol):
    """Points of one space; every call may come from any thread."""

    facts: wire.NewCollection  # what it is; asks no engine

    def info(self) -> wire.CollectionInfo: ...

    def upsert(self, points: Points) -> int:
        """Add or replace by id; on disk when it returns. Raises SpaceMismatch or WrongUse, and then adds nothing."""

    def query(self, asked: Query) -> list[wire.Hit]:
        """Points, best first. Raises WrongUse for what does not go together."""

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """float32 [N, D] of points. Raises UnknownName naming the first that is none."""

    def sample(self, size: int) -> list[wire.Point]:
        """Points by chance, each at most once."""

    def retrieve(self, ids: Sequence[str]) -> list[wire.Point]:
        """Those of the points that exist."""

    def facet(self, field: str) -> list[wire.Facet]:
        """The values of a payload field, most frequent first, at most a thousand; none if no point has it."""

    def delete(self, *, ids: Sequence[str] = (), source: str | None = None) -> int:
        """Erase points by id and by source: how many there were."""

    def scroll(self, size: int = 1000, *, thumbnails: bool = False, tokens: bool = False) -> Iterator[Points]:
        """Every point, `size` at a time, by id; with its picture, and with its tokens, where that is asked for."""

    def optimize(self) -> None:
        """Build the search graph over points that lack one, where there are enough; returns when done, while others
        read and write. A server has its own; there, vectors of 8 bits are measured and taken where they lose little.
        """

    def notes(self, kind: str) -> Any:
        """Arrow table of what a job found of the points, `layout` or `health`, with the payload. Raises UnknownName."""

    def set_notes(self, kind: str, table: Any) -> None:
        """Keep them, in place of earlier ones of the kind. Raises WrongUse."""

    def thumbnail(self, id: str) -> bytes:
        """WebP. Raises UnknownName for a point without a picture."""


class Index(Protocol):
    """Collections by name."""

    def create(self, new: wire.NewCollection) -> Collection:
        """A new collection, or the one that is there if its space is the same. Raises SpaceMismatch."""

    def drop(self, name: str) -> None:
        """Remove a collection with all its generations, or one of them. Raises Conflict for the one that is meant."""

    def names(self) -> list[str]: ...

    def collection(self, name: str) -> Collection:
        """By its name, or one of its generations. Raises UnknownName, or Unavailable for a damaged one."""

    def generations(self, name: str) -> wire.Generations: ...

    def next_generation(self, new: wire.NewCollection) -> wire.Generations:
        """Begin one of another space, which the name does not mean yet; the newest if it is of that space already."""

    def switch(self, name: str, to: int) -> wire.Generations:
        """Let the name mean another generation, from one moment to the next; the one before is `leaving` then."""

    def settle(self, name: str) -> wire.Generations:
        """Nothing of the generation that was left is to be carried over any more."""

    def all(self) -> Sequence[Collection]:
        """Every collection that can be opened."""

    def close(self) -> None: ...


def everywhere(index: Index, name: str) -> list[Collection]:
    """What a write to a collection reaches: what its name means first, then its other generations; or one by itself."""
    kept = index.generations(name)
    others = [number for number in kept.all if number != kept.live and name == kept.name]
    return [index.collection(name), *(index.collection(f"{kept.name}@{number}") for number in others)]


def open_index(settings: Settings, url: str) -> Index:
    """The Qdrant server that `settings` names, else the embedded engine over this home's folder.

    url   where others reach the embedded one

    Raises Unavailable for a server that is not there, Conflict for a folder in use.
    """
    if settings.qdrant_url:
        from serving.index.server import ServerIndex

        return ServerIndex.connect(settings)
    from serving.index.edge import EdgeIndex

    return EdgeIndex(settings.index, url)
