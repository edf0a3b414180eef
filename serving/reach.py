"""Where the collections of this home are reached: through the server that has them open, else in this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from enfold import wire
from enfold.client import Client
from enfold.model import Model
from enfold.settings import Settings
from enfold.space import same_space
from serving import lock, views
from serving.index import Collection, Index, Query, arrow, everywhere, open_index
from serving.jobs.erasure import forget_source

_PAGE, _PAGE_OF_TOKENS = 1000, 100  # points read at a time


class Local:
    """The client's calls on collections, answered by an index in this process."""

    def __init__(self, index: Index, settings: Settings):
        self._index, self._settings = index, settings

    def collections(self) -> list[wire.CollectionInfo]:
        return [kept.info() for kept in self._index.all()]

    def collection(self, name: str) -> wire.CollectionInfo:
        return self._index.collection(name).info()

    def create_collection(self, new: wire.NewCollection) -> wire.CollectionInfo:
        return self._index.create(new).info()

    def drop_collection(self, name: str) -> None:
        self._index.drop(name)
        views.forget_all(self._settings, name)

    def generations(self, name: str) -> wire.Generations:
        return self._index.generations(name)

    def next_generation(self, new: wire.NewCollection) -> wire.Generations:
        return self._index.next_generation(new)

    def switch(self, name: str, to: int) -> wire.Generations:
        return self._index.switch(name, to)

    def settle(self, name: str) -> wire.Generations:
        return self._index.settle(name)

    def models(self) -> None:
        """No server, and so no models that it serves."""

    def search(
        self, collection: str, *, vector: Sequence[float], space: str, limit: int, exact: bool = False
    ) -> wire.SearchResponse:
        """By a vector alone: there are no models here."""
        kept = self._index.collection(collection)
        facts = kept.facts
        same_space(space, facts.space, what="the vector", where=f"collection '{collection}'")
        hits = kept.query(Query(np.asarray(vector, np.float32), limit=limit, exact=exact))
        return wire.SearchResponse(collection=collection, model=facts.model, space=space, hits=hits, milliseconds=0)

    def upsert(self, collection: str, table: Any) -> None:
        self._index.collection(collection).upsert(arrow.to_points(table))

    def optimize(self, collection: str) -> wire.CollectionInfo:
        kept = self._index.collection(collection)
        kept.optimize()
        return kept.info()

    def delete(self, collection: str, *, source: str | None = None, ids: Sequence[str] = ()) -> int:
        kept = everywhere(self._index, collection)
        if source is not None:
            forget_source(self._settings, collection, source)
        erased = [one.delete(ids=ids, source=source) for one in kept]
        return erased[0]

    def facets(self, collection: str, field: str) -> list[wire.Facet]:
        return self._index.collection(collection).facet(field)

    def points(self, collection: str, *, thumbnails: bool = False, tokens: bool = False) -> Any:
        schema, pages = tables(self._index.collection(collection), thumbnails=thumbnails, tokens=tokens)
        return pa.concat_tables([schema.empty_table(), *pages])

    def thumbnail(self, collection: str, id: str) -> bytes:
        return self._index.collection(collection).thumbnail(id)

    def layout(self, collection: str) -> Any:
        return self._index.collection(collection).notes("layout")

    def health(self, collection: str) -> Any:
        return self._index.collection(collection).notes("health")

    def set_layout(self, collection: str, table: Any) -> None:
        self._index.collection(collection).set_notes("layout", table)

    def set_health(self, collection: str, table: Any) -> None:
        self._index.collection(collection).set_notes("health", table)


def tables(kept: Collection, *, thumbnails: bool, tokens: bool) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """Every point, and the schema of the tables that they come in."""
    facts = kept.facts
    width = facts.tokens if tokens else None
    pages = kept.scroll(_PAGE if width is None else _PAGE_OF_TOKENS, thumbnails=thumbnails, tokens=tokens)
    schema = arrow.schema(facts.space, facts.dimensions, facts.model, width)
    return schema, (arrow.to_table(points, facts.model) for points in pages)


def collection_of(encoder: Model, name: str, *, tokens: bool = False) -> wire.NewCollection:
    """A collection for what a bundle's own entry gives, with the vectors of tokens or without."""
    facts = encoder.facts()
    return wire.NewCollection(
        name=name,
        model=encoder.bundle.ref,
        entry=encoder.entry(),
        modality=facts.modality,
        space=facts.space,
        dimensions=facts.dimensions,
        tokens=encoder.check_tokens(encoder.entry()) if tokens else None,
    )


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
        yield Local(index, settings)
    finally:
        index.close()
