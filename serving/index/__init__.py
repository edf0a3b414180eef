"""Where points live: one protocol, its engines beside it in this folder.

A collection holds points of one space. Knows nothing of models, of HTTP, or of how a vector came about.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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
    """

    ids: Sequence[str]
    vectors: np.ndarray
    payloads: Sequence[dict[str, Any]]
    space: str
    thumbnails: dict[str, bytes] = field(default_factory=dict)


class Collection(Protocol):
    """Points of one space; every call may come from any thread."""

    def info(self) -> wire.CollectionInfo: ...

    def upsert(self, points: Points) -> int:
        """Add or replace by id; on disk when it returns. Raises SpaceMismatch or WrongUse, and then adds nothing."""

    def query(
        self,
        near: np.ndarray | str,
        *,
        limit: int = 10,
        filter: Sequence[wire.Condition] = (),
        exact: bool = False,
    ) -> list[wire.Hit]:
        """Points by cosine to a vector [D], or to a point's id and then without that point; every condition holds."""

    def retrieve(self, ids: Sequence[str]) -> list[wire.Point]:
        """Those of the points that exist."""

    def facet(self, field: str) -> list[wire.Facet]:
        """The values of a payload field, most frequent first, at most a thousand; none if no point has it."""

    def delete(self, *, ids: Sequence[str] = (), source: str | None = None) -> int:
        """Erase points by id and by source: how many there were."""

    def scroll(self, size: int = 1000) -> Iterator[Points]:
        """Every point, `size` at a time, by id."""

    def optimize(self) -> None:
        """Build the search graph over points that lack one; returns when done, while others read and write."""

    def layout(self) -> Any:
        """Arrow table of the points with a position: id, x, y and the payload fields. Raises UnknownName."""

    def set_layout(self, table: Any) -> None:
        """Keep positions: an Arrow table id, x, y."""

    def thumbnail(self, id: str) -> bytes:
        """WebP. Raises UnknownName for a point without a picture."""


class Index(Protocol):
    """Collections by name."""

    def create(self, new: wire.NewCollection) -> Collection:
        """A new collection, or the one that is there if its space is the same. Raises SpaceMismatch."""

    def drop(self, name: str) -> None: ...

    def names(self) -> list[str]: ...

    def collection(self, name: str) -> Collection:
        """Raises UnknownName, or Unavailable for a damaged one."""

    def all(self) -> Sequence[Collection]:
        """Every collection that can be opened."""

    def close(self) -> None: ...


def open_index(settings: Settings, url: str) -> Index:
    """The embedded engine over this home's folder; `url` is where others reach it. Raises Conflict if it is in use."""
    from serving.index.edge import EdgeIndex

    return EdgeIndex(settings.index, url)
