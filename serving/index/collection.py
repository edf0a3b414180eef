"""One collection on the embedded Qdrant engine.

Reads go side by side to the open shard, which closes when the last of them is done. Writes take turns. A search graph
is built on a copy of the shard, by another process; points that were written meanwhile are carried over before the
copy takes the shard's place, so the highest-numbered shard of a folder is always whole.
"""
# N points, D dimensions

import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import qdrant_edge as engine
from qdrant_edge import UpdateOperation

from enfold import wire
from enfold.errors import Unavailable, UnknownName, WrongUse
from enfold.space import same_space
from serving.index import Points, arrow
from serving.index.thumbnails import Thumbnails
from serving.index.translate import MAX_LEVELS, condition_of, is_flat, path_of, uuid_of

GRAPH_KIB = 10_000  # vectors without a graph above which one is built; fewer are as quick to compare one by one
MAX_FACETS = 1000
_SCHEMAS = {
    str: engine.PayloadSchemaType.Keyword,
    bool: engine.PayloadSchemaType.Bool,
    int: engine.PayloadSchemaType.Integer,
}
_log = logging.getLogger(__name__)


class EdgeCollection:
    @staticmethod
    def create(folder: Path, new: wire.NewCollection) -> None:
        """Write an empty collection."""
        first = folder / "shard-1"
        first.mkdir(parents=True)
        vectors = {"": engine.EdgeVectorParams(new.dimensions, engine.Distance.Cosine)}
        optimizers = engine.EdgeOptimizersConfig(indexing_threshold=GRAPH_KIB)
        engine.EdgeShard.create(str(first), engine.EdgeConfig(vectors, optimizers=optimizers)).close()
        (folder / "collection.json").write_text(new.model_dump_json(indent=1))

    def __init__(self, folder: Path):
        self._folder = folder
        self.facts = wire.NewCollection.model_validate_json((folder / "collection.json").read_bytes())
        shards = sorted(folder.glob("shard-*"), key=_number)
        for stale in [*shards[:-1], *folder.glob("draft-*")]:
            shutil.rmtree(stale)
        self._path = shards[-1]
        try:
            self._shard = engine.EdgeShard.load(str(self._path))
        except Exception as error:  # the engine's only class
            raise Unavailable(f"collection '{self.facts.name}' cannot be opened: {error}") from None
        self._thumbnails = Thumbnails(folder / "thumbnails.sqlite")
        self._writing = threading.Lock()
        self._optimizing = threading.Lock()
        self._changed: set[str] | None = None  # ids written while a graph is being built
        self._builder: subprocess.Popen[bytes] | None = None
        self._closed, self._readers, self._readers_change = False, 0, threading.Condition()

    def info(self) -> wire.CollectionInfo:
        with self._reading() as opened:
            shard = opened.info()
        return wire.CollectionInfo(
            **self.facts.model_dump(),
            points=shard.points_count,
            indexed=shard.indexed_vectors_count,
            has_layout=self._layout_file.exists(),
        )

    def upsert(self, points: Points) -> int:
        ids, built = self._checked(points)
        if not ids:
            return 0
        with self._writing, self._reading():
            if points.thumbnails:
                self._thumbnails.put({uuid_of(id): webp for id, webp in points.thumbnails.items()})
            self._write(UpdateOperation.upsert_points(built), ids)
        if self._graph_is_due() and not self._optimizing.locked():
            threading.Thread(target=self.optimize, daemon=True).start()
        return len(ids)

    def query(
        self,
        near: np.ndarray | str,
        *,
        limit: int = 10,
        filter: Sequence[wire.Condition] = (),
        exact: bool = False,
    ) -> list[wire.Hit]:
        vector, others = self._vector(near)
        request = engine.QueryRequest(
            limit,
            query=engine.Query.Nearest(vector),  # type: ignore[arg-type]  # arrays are taken, and need no copy
            filter=engine.Filter(must=[condition_of(one) for one in filter], must_not=others),
            params=engine.SearchParams(exact=exact),
            with_payload=True,
        )
        with self._reading() as shard:
            hits = shard.query(request)
        return [wire.Hit(id=str(hit.id), score=hit.score, payload=hit.payload) for hit in hits]

    def retrieve(self, ids: Sequence[str]) -> list[wire.Point]:
        with self._reading() as shard:
            records = shard.retrieve([uuid_of(id) for id in ids], True, False)
        return [wire.Point(id=str(record.id), payload=record.payload) for record in records]

    def facet(self, field: str) -> list[wire.Facet]:
        if not self._is_indexed(field):
            return []
        with self._reading() as shard:
            found = shard.facet(engine.FacetRequest(path_of(field), limit=MAX_FACETS, exact=True))
        return [wire.Facet(value=hit.value, count=hit.count) for hit in found.hits]

    def delete(self, *, ids: Sequence[str] = (), source: str | None = None) -> int:
        with self._writing, self._reading() as shard:
            doomed = {str(record.id) for record in shard.retrieve([uuid_of(id) for id in ids], False, False)}
            if source is not None:
                of_source = engine.Filter(must=[condition_of(wire.Condition(field="source", any=[source]))])
                doomed |= {str(record.id) for record in self._records(1000, filter=of_source)}
            if doomed:
                self._write(UpdateOperation.delete_points(list(doomed)), doomed)
                self._thumbnails.delete(doomed)
        return len(doomed)

    def scroll(self, size: int = 1000) -> Iterator[Points]:
        page: list[Any] = []
        for record in self._records(size, with_payload=True, with_vector=True):
            page.append(record)
            if len(page) == size:
                yield self._points(page)
                page = []
        if page:
            yield self._points(page)

    def optimize(self) -> None:
        with self._optimizing:
            draft = self._folder / f"draft-{_number(self._path) + 1}"
            try:
                with self._writing:
                    if self._closed:
                        return
                    shutil.copytree(self._path, draft)
                    self._changed = set()
                    self._builder = subprocess.Popen([sys.executable, "-m", "serving.index.graph", str(draft)])
                built = self._builder.wait() == 0
                with self._writing:
                    if built and not self._closed:
                        self._adopt(draft)
                    elif not self._closed:
                        _log.warning("building the graph of '%s' failed; it is searched without", self.facts.name)
            finally:
                self._changed = None
                shutil.rmtree(draft, ignore_errors=True)

    def layout(self) -> Any:
        if not self._layout_file.exists():
            raise UnknownName(
                f"collection '{self.facts.name}' has no layout yet: enfold index layout {self.facts.name}"
            )
        payloads = {str(record.id): record.payload for record in self._records(1000, with_payload=True)}
        return arrow.with_payloads(arrow.read_file(self._layout_file), payloads)

    def set_layout(self, table: Any) -> None:
        draft = self._layout_file.with_suffix(".draft")
        arrow.write_file(arrow.checked_layout(table), draft)
        os.replace(draft, self._layout_file)

    def thumbnail(self, id: str) -> bytes:
        with self._reading():
            found = self._thumbnails.get(uuid_of(id))
        if found is None:
            raise UnknownName(f"point {id} of collection '{self.facts.name}' has no thumbnail")
        return found

    def close(self) -> None:
        with self._writing, self._readers_change:
            self._closed = True
            if self._builder is not None:
                self._builder.kill()
        with self._optimizing, self._readers_change:
            self._readers_change.wait_for(lambda: self._readers == 0)  # the engine does not outlive a read of it
            self._shard.close()
            self._thumbnails.close()

    @contextmanager
    def _reading(self) -> Iterator[engine.EdgeShard]:
        """The shard, open until the block ends, and the pictures. Raises UnknownName once the collection is closed."""
        with self._readers_change:
            if self._closed:
                raise UnknownName(f"collection '{self.facts.name}' was dropped")
            self._readers, shard = self._readers + 1, self._shard
        try:
            yield shard
        finally:
            with self._readers_change:
                self._readers -= 1
                self._readers_change.notify_all()

    @property
    def _layout_file(self) -> Path:
        return self._folder / "layout.arrow"

    def _checked(self, points: Points) -> tuple[list[str], list[engine.Point]]:
        """Ids and engine points, or the sentence that says which of them cannot be kept."""
        where = f"collection '{self.facts.name}'"
        same_space(points.space, self.facts.space, what="what is sent", where=where)
        self._check_vectors(points.vectors)
        ids = [uuid_of(id) for id in points.ids]
        built = []
        for id, vector, payload in zip(ids, points.vectors, points.payloads, strict=True):
            if not is_flat(payload):
                raise WrongUse(f"the payload of point {id} nests deeper than {MAX_LEVELS} levels")
            try:
                orjson.dumps(payload)  # what cannot leave again must not come in, as an integer over 64 bits
                built.append(engine.Point(id, vector, payload))
            except (ValueError, TypeError) as error:
                raise WrongUse(f"the payload of point {id} cannot be kept: {error}") from None
        return ids, built

    def _check_vectors(self, vectors: np.ndarray) -> None:
        """vectors [N, D]"""
        if vectors.ndim != 2 or vectors.shape[1] != self.facts.dimensions:
            raise WrongUse(
                f"collection '{self.facts.name}' holds vectors of {self.facts.dimensions} numbers, "
                f"this one has {vectors.shape[-1] if vectors.ndim else 0}"
            )
        if not np.isfinite(vectors).all():
            raise WrongUse("a vector holds a number that is not finite")

    def _vector(self, near: np.ndarray | str) -> tuple[np.ndarray, list[Any]]:
        """The vector to compare with, and the point that must not find itself."""
        if not isinstance(near, str):
            self._check_vectors(near[None])
            return near.astype(np.float32), []
        id = uuid_of(near)
        with self._reading() as shard:
            records = shard.retrieve([id], False, True)
        if not records:
            raise UnknownName(f"collection '{self.facts.name}' has no point {near}")
        return np.array(records[0].vector, np.float32), [engine.HasIdCondition({id})]

    def _records(self, size: int, **what: Any) -> Iterator[Any]:
        offset = None
        while True:
            with self._reading() as shard:
                records, offset = shard.scroll(engine.ScrollRequest(offset, size, **what))
            yield from records
            if offset is None:
                return

    def _points(self, records: list[Any]) -> Points:
        vectors = np.array([record.vector for record in records], np.float32)
        return Points([str(record.id) for record in records], vectors, [r.payload for r in records], self.facts.space)

    def _is_indexed(self, field: str) -> bool:
        """Have the engine index a payload field, by the type of the first value there is; False if there is none."""
        path = path_of(field)
        with self._reading() as shard:
            if shard.info().payload_schema.keys() & {field, path}:
                return True
        filled = engine.Filter(must_not=[engine.IsEmptyCondition(path)])
        record = next(self._records(1, filter=filled, with_payload=True), None)
        if record is None:
            return False
        value = record.payload[field]
        kind = type(value[0] if isinstance(value, list) else value)
        if kind not in _SCHEMAS:
            raise WrongUse(f"field '{field}' holds {kind.__name__} values; facets count str, int and bool")
        with self._writing, self._reading():
            self._write(UpdateOperation.create_field_index(path, _SCHEMAS[kind]), ())
        return True

    def _write(self, operation: Any, ids: Iterable[str]) -> None:
        try:
            self._shard.update(operation)
            self._shard.flush()
        except Exception as error:  # the engine's only class
            raise Unavailable(f"collection '{self.facts.name}' cannot be written: {error}") from None
        if self._changed is not None:
            self._changed.update(ids)

    def _graph_is_due(self) -> bool:
        """Whether enough points lack a graph: growing with what has one, so that building stays a constant share."""
        with self._reading() as shard:
            info = shard.info()
        kib = self.facts.dimensions * 4 / 1024
        lacking = (info.points_count - info.indexed_vectors_count) * kib
        return bool(lacking > max(GRAPH_KIB, info.indexed_vectors_count * kib / 2))

    def _adopt(self, draft: Path) -> None:
        """Bring the copy up to date and let it take the shard's place."""
        built = engine.EdgeShard.load(str(draft))
        kept = self._shard.retrieve(list(self._changed or ()), True, True)
        gone = (self._changed or set()) - {str(record.id) for record in kept}
        built.update(UpdateOperation.delete_points(list(gone)))
        changed: list[Any] = [engine.Point(one.id, one.vector, one.payload) for one in kept]  # type: ignore[arg-type]
        built.update(UpdateOperation.upsert_points(changed))
        schema = self._shard.info().payload_schema
        for path in schema.keys() - built.info().payload_schema.keys():
            built.update(UpdateOperation.create_field_index(path, schema[path].data_type))
        built.flush()
        built.close()
        old, self._path = self._path, self._folder / draft.name.replace("draft", "shard")
        os.rename(draft, self._path)
        self._shard = engine.EdgeShard.load(str(self._path))  # readers keep the old one until they are done
        shutil.rmtree(old)


def _number(path: Path) -> int:
    return int(path.name.partition("-")[2])
