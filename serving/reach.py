"""Where the collections of this home are reached: through the server that has them open, else in this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from enfold import wire
from enfold.client import Client
from enfold.settings import Settings
from serving import lock
from serving.index import Index, arrow, open_index


class Local:
    """The client's calls on collections, answered by an index in this process."""

    def __init__(self, index: Index):
        self._index = index

    def collections(self) -> list[wire.CollectionInfo]:
        return [kept.info() for kept in self._index.all()]

    def collection(self, name: str) -> wire.CollectionInfo:
        return self._index.collection(name).info()

    def create_collection(self, new: wire.NewCollection) -> wire.CollectionInfo:
        return self._index.create(new).info()

    def drop_collection(self, name: str) -> None:
        self._index.drop(name)

    def upsert(self, collection: str, table: Any) -> None:
        self._index.collection(collection).upsert(arrow.to_points(table))

    def delete(self, collection: str, *, ids: Sequence[str]) -> int:
        return self._index.collection(collection).delete(ids=ids)

    def facets(self, collection: str, field: str) -> list[wire.Facet]:
        return self._index.collection(collection).facet(field)

    def points(self, collection: str) -> Any:
        kept = self._index.collection(collection)
        facts = kept.info()
        empty = arrow.schema(facts.space, facts.dimensions, facts.model).empty_table()
        return pa.concat_tables([empty, *(arrow.to_table(points, facts.model) for points in kept.scroll())])

    def set_layout(self, collection: str, table: Any) -> None:
        self._index.collection(collection).set_layout(table)


def address(settings: Settings) -> str | None:
    """The server that ENFOLD_URL names, else the one that holds this home's index, else none."""
    if "url" in settings.model_fields_set:
        return settings.url
    held = lock.holder(settings.index / "lock")
    return held.get("url") if held else None


@contextmanager
def collections(settings: Settings) -> Iterator[Client | Local]:
    """The collections of that server, or the index itself in this process."""
    url = address(settings)
    if url:
        with Client(url) as client:
            yield client
        return
    index = open_index(settings, "")
    try:
        yield Local(index)
    finally:
        index.close()
