"""Where the collections of this home are reached: through the server that has them open, else in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
        return [self.collection(name) for name in self._index.names()]

    def collection(self, name: str) -> wire.CollectionInfo:
        return self._index.collection(name).info()

    def create_collection(self, new: wire.NewCollection) -> wire.CollectionInfo:
        return self._index.create(new).info()

    def drop_collection(self, name: str) -> None:
        self._index.drop(name)

    def upsert(self, collection: str, table: Any) -> None:
        self._index.collection(collection).upsert(arrow.to_points(table))

    def points(self, collection: str) -> Any:
        kept = self._index.collection(collection)
        facts = kept.info()
        empty = arrow.schema(facts.space, facts.dimensions, facts.model).empty_table()
        return arrow.joined([empty, *(arrow.to_table(points, facts.model) for points in kept.scroll())])

    def set_layout(self, collection: str, table: Any) -> None:
        self._index.collection(collection).set_layout(table)


@contextmanager
def collections(settings: Settings) -> Iterator[Client | Local]:
    """The server that holds this home's index, or one that ENFOLD_URL names, or the index itself."""
    held = lock.holder(settings.index / "lock")
    if held is not None and "url" in held:
        with Client(held["url"]) as client:
            yield client
        return
    if "url" in settings.model_fields_set:
        with Client(settings.url) as client:
            if client.ready():
                yield client
                return
    index = open_index(settings, "")
    try:
        yield Local(index)
    finally:
        index.close()
