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
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine
from qdrant_edge import UpdateOperation

from enfold import wire
from enfold.errors import EnfoldError, Unavailable, UnknownName, WrongUse
from serving.index import Points, Query, arrow
from serving.index.checks import check_points, check_query, kind_of
from serving.index.names import path_of, uuid_of
from serving.index.room import check_room
from serving.index.thumbnails import Thumbnails

GRAPH_KIB = 10_000  # vectors without a graph above which one is built; fewer are as quick to compare one by one
MAX_FACETS = 1000
_SCHEMAS = {
    str: engine.PayloadSchemaType.Keyword,
    bool: engine.PayloadSchemaType.Bool,
    int: engine.PayloadSchemaType.Integer,
}
# Words of any script, apart at what Unicode calls a boundary; no stemming, which would have to know the language.
_WORDS = engine.TextIndexParams(
    tokenizer=engine.TokenizerType.Multilingual,
    lowercase=True,
    ascii_folding=True,
    phrase_matching=True,  # without it a filter by a phrase finds nothing, and says nothing
    scoring=True,
)
_MAIN, _TOKENS = "", "tokens"  # names of a point's vectors
_FUSIONS: dict[str, Any] = {"rrf": engine.Fusion.Rrf(60), "dbsf": engine.Fusion.Dbsf()}
_log = logging.getLogger(__name__)


class EdgeCollection:
    @staticmethod
    def create(folder: Path, new: wire.NewCollection) -> None:
        """Write an empty collection."""
        check_room(folder.parent)
        first = folder / "shard-1"
        first.mkdir(parents=True)
        vectors = {_MAIN: engine.EdgeVectorParams(new.dimensions, engine.Distance.Cosine)}
        if (
            new.tokens is not None
        ):  # only ever compared with a few points: a graph of them would cost more than it gives
            vectors[_TOKENS] = engine.EdgeVectorParams(
                new.tokens,
                engine.Distance.Cosine,
                on_disk=True,
                multivector_config=engine.MultiVectorConfig(engine.MultiVectorComparator.MaxSim),
                hnsw_config=engine.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=0),
            )
        optimizers = engine.EdgeOptimizersConfig(indexing_threshold=GRAPH_KIB)
        engine.EdgeShard.create(str(first), engine.EdgeConfig(vectors, optimizers=optimizers)).close()
        (folder / "collection.json").write_text(new.model_dump_json(indent=1))

    def __init__(self, folder: Path):
        self._folder = folder
        with _engine(f"{folder} cannot be opened"):
            self.facts = wire.NewCollection.model_validate_json((folder / "collection.json").read_bytes())
        shards = sorted(folder.glob("shard-*"), key=_number)
        for stale in [*shards[:-1], *folder.glob("draft-*")]:
            shutil.rmtree(stale)
        self._path = shards[-1]
        check_room(folder)
        with _engine(f"collection '{self.facts.name}' cannot be opened"):
            self._shard = engine.EdgeShard.load(str(self._path))
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
            indexed=self._indexed(shard),
            graph="building" if self._optimizing.locked() else self._graph(shard),
            **{f"has_{kind}": self._notes_file(kind).exists() for kind in arrow.NOTES},
        )

    def upsert(self, points: Points) -> int:
        ids, built = self._checked(points)
        if not ids:
            return 0
        numbers = points.vectors.nbytes + sum(one.nbytes for one in points.tokens or ())
        more = 2 * (numbers + sum(map(len, points.thumbnails.values())))  # the log's and its own
        with self._writing, self._reading():
            check_room(self._folder, more)
            if points.thumbnails:
                self._thumbnails.put({uuid_of(id): webp for id, webp in points.thumbnails.items()})
            self._write(UpdateOperation.upsert_points(built), ids)
        if self._graph_is_due():
            threading.Thread(target=self.optimize, daemon=True).start()
        return len(ids)

    def query(self, asked: Query) -> list[wire.Hit]:
        check_query(asked, self.facts)
        rankings = self._rankings(asked)
        if not rankings:
            return []
        keep = engine.Filter(
            must=_conditions_of(asked.filter),
            must_not=[engine.HasIdCondition({uuid_of(id) for id in asked.but})] if asked.but else [],
        )
        how = engine.SearchParams(exact=asked.exact)
        query: Any = rankings[0] if len(rankings) == 1 else _FUSIONS[asked.fuse]
        if asked.tokens is not None:
            tokens: Any = asked.tokens
            query = engine.Query.Nearest(tokens, using=_TOKENS)
            rankings = [] if asked.exact else rankings
        depth = max(asked.depth, asked.limit + asked.offset)
        request = engine.QueryRequest(
            asked.limit,
            offset=asked.offset,
            query=query,
            prefetches=[
                engine.Prefetch(depth, query=one, filter=keep, params=how) for one in rankings if one is not query
            ],
            filter=keep,
            score_threshold=asked.min_score,
            params=how,
            with_payload=True,
        )
        with self._reading() as shard:
            hits = shard.query(request)
        return [wire.Hit(id=str(hit.id), score=hit.score, payload=hit.payload) for hit in hits]

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        with self._reading() as shard:
            records = shard.retrieve([uuid_of(id) for id in ids], False, [_MAIN])
        found = {str(record.id): record.vector for record in records}
        for id in ids:
            if uuid_of(id) not in found:
                raise UnknownName(f"collection '{self.facts.name}' has no point {id}")
        return np.array([found[uuid_of(id)] for id in ids], np.float32).reshape(len(ids), self.facts.dimensions)

    def sample(self, size: int) -> list[wire.Point]:
        with self._reading() as shard:
            found = shard.query(engine.QueryRequest(size, query=engine.Sample.Random, with_payload=True))
        return [wire.Point(id=str(one.id), payload=one.payload) for one in found]

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
                of_source = engine.Filter(must=[_condition_of(wire.Condition(field="source", any=[source]))])
                doomed |= {str(record.id) for record in self._records(1000, filter=of_source)}
            if doomed:
                self._write(UpdateOperation.delete_points(list(doomed)), doomed)
                self._thumbnails.delete(doomed)
        return len(doomed)

    def scroll(self, size: int = 1000, *, thumbnails: bool = False, tokens: bool = False) -> Iterator[Points]:
        tokens = tokens and self.facts.tokens is not None
        records = self._records(size, with_payload=True, with_vector=[_MAIN, _TOKENS] if tokens else [_MAIN])
        while page := list(islice(records, size)):
            vectors = [record.vector[_MAIN] if tokens else record.vector for record in page]
            if any(len(vector or ()) != self.facts.dimensions for vector in vectors):
                raise Unavailable(f"collection '{self.facts.name}' is damaged: a point of it has lost its vector")
            ids = [str(record.id) for record in page]
            pictures = {id: webp for id in ids if (webp := self._thumbnails.get(id))} if thumbnails else {}
            of_tokens = [np.array(record.vector[_TOKENS], np.float32) for record in page] if tokens else None
            payloads = [record.payload for record in page]
            yield Points(ids, np.array(vectors, np.float32), payloads, self.facts.space, pictures, of_tokens)

    def optimize(self) -> None:
        with self._optimizing, suppress(UnknownName):  # dropped meanwhile
            with self._reading() as opened:
                if self._graph(opened.info()) == "small":
                    return
            draft = self._folder / f"draft-{_number(self._path) + 1}"
            try:
                with self._writing:
                    if self._closed:
                        return
                    check_room(self._folder, 3 * _bytes(self._path))  # the copy, its graph, and what is merged in it
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

    def notes(self, kind: str) -> Any:
        file = self._notes_file(kind)
        if not file.exists():
            raise UnknownName(
                f"collection '{self.facts.name}' has no {kind} yet: enfold index {kind} {self.facts.name}"
            )
        payloads = {str(record.id): record.payload for record in self._records(1000, with_payload=True)}
        return arrow.with_payloads(arrow.read_file(file), payloads)

    def set_notes(self, kind: str, table: Any) -> None:
        draft = self._notes_file(kind).with_suffix(".draft")
        arrow.write_file(arrow.checked_notes(kind, table), draft)
        os.replace(draft, self._notes_file(kind))

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
            with _engine(f"collection '{self.facts.name}' cannot be read"):
                yield shard
        finally:
            with self._readers_change:
                self._readers -= 1
                self._readers_change.notify_all()

    def _notes_file(self, kind: str) -> Path:
        return self._folder / f"{kind}.arrow"

    def _checked(self, points: Points) -> tuple[list[str], list[engine.Point]]:
        """Ids and engine points, or the sentence that says which of them cannot be kept."""
        ids = check_points(points, self.facts)
        vectors: Any = points.vectors
        if points.tokens is not None:
            vectors = [{_MAIN: one, _TOKENS: own} for one, own in zip(points.vectors, points.tokens, strict=True)]
        built = []
        for id, vector, payload in zip(ids, vectors, points.payloads, strict=True):
            try:
                built.append(engine.Point(id, vector, payload))
            except (ValueError, TypeError) as error:
                raise WrongUse(f"the payload of point {id} cannot be kept: {error}") from None
        return ids, built

    def _rankings(self, asked: Query) -> list[Any]:
        """The engine's queries that each give a ranking: of vectors, of words, or both."""
        rankings: list[Any] = []
        vector: Any = asked.vector  # the engine takes arrays, and needs no copy
        contrasts: Any = asked.context
        pairs = [engine.ContextPair(*pair) for pair in contrasts]
        if asked.diversity:
            depth = max(asked.depth, 5 * (asked.limit + asked.offset))
            rankings.append(engine.Mmr(vector, 1 - asked.diversity, depth))
        elif vector is not None and pairs:
            rankings.append(engine.Query.Discover(engine.DiscoverQuery(vector, pairs)))
        elif pairs:
            rankings.append(engine.Query.Context(engine.ContextQuery(pairs)))
        elif vector is not None:
            rankings.append(engine.Query.Nearest(vector))
        if asked.words is not None and self._is_indexed(asked.words_in, words=True):
            rankings.append(engine.TextQuery(path_of(asked.words_in), asked.words))
        return rankings

    def _records(self, size: int, **what: Any) -> Iterator[Any]:
        offset = None
        while True:
            with self._reading() as shard:
                records, offset = shard.scroll(engine.ScrollRequest(offset, size, **what))
            yield from records
            if offset is None:
                return

    def _is_indexed(self, field: str, *, words: bool = False) -> bool:
        """Have the engine index a payload field, by its values or by their words; False if no point has it.

        A field has one index: asked for the other kind, the engine makes that one in its place.
        """
        path = path_of(field)
        with self._reading() as shard:
            schema = shard.info().payload_schema
            have = schema.get(field) or schema.get(path)
        if have is not None and (have.data_type == engine.PayloadSchemaType.Text) == words:
            return True
        filled = engine.Filter(must_not=[engine.IsEmptyCondition(path)])
        record = next(self._records(1, filter=filled, with_payload=True), None)
        if record is None:
            return False
        kind = kind_of(field, record.payload[field], words=words)
        with self._writing, self._reading():
            self._write(UpdateOperation.create_field_index(path, _WORDS if words else _SCHEMAS[kind]), ())
        return True

    def _write(self, operation: Any, ids: Iterable[str]) -> None:
        check_room(self._folder)
        with _engine(f"collection '{self.facts.name}' cannot be written"):
            self._shard.update(operation)
            self._shard.flush()
        if self._changed is not None:
            self._changed.update(ids)

    def _graph_is_due(self) -> bool:
        with self._reading() as shard:
            return not self._optimizing.locked() and self._graph(shard.info()) == "lacking"

    def _graph(self, shard: Any) -> Any:
        """Of a shard's facts: `lacking` is a graph that enough points are not in, growing with those that are, so that
        building stays a constant share of writing."""
        kib, indexed = self.facts.dimensions * 4 / 1024, self._indexed(shard)
        lacking = (shard.points_count - indexed) * kib
        if lacking > max(GRAPH_KIB, indexed * kib / 2):
            return "lacking"
        return "built" if indexed else "small"

    def _indexed(self, shard: Any) -> int:
        """Points in the graph; the engine counts a point's tokens as one more vector, though they are in none."""
        count: int = shard.indexed_vectors_count
        return count if self.facts.tokens is None else count // 2

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
            kind = schema[path].data_type
            by_words = kind == engine.PayloadSchemaType.Text
            built.update(UpdateOperation.create_field_index(path, _WORDS if by_words else kind))
        built.flush()
        built.close()
        old, self._path = self._path, self._folder / draft.name.replace("draft", "shard")
        os.rename(draft, self._path)
        self._shard = engine.EdgeShard.load(str(self._path))  # readers keep the old one until they are done
        shutil.rmtree(old)


def _conditions_of(told: Sequence[wire.Condition] | dict[str, Any]) -> list[Any]:
    """What must hold; a dict is a filter in Qdrant's own words."""
    if isinstance(told, dict):
        from serving.index import filters

        return [filters.for_edge(filters.read(told))]
    return [_condition_of(one) for one in told]


@contextmanager
def _engine(sentence: str) -> Iterator[None]:
    """Calls of the engine. Raises Unavailable with the sentence and its reason."""
    try:
        yield
    except (EnfoldError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # the engine's only class, and its panics on damaged files, which are no Exception
        raise Unavailable(f"{sentence}: {error}") from None


def _condition_of(condition: wire.Condition) -> engine.Filter:
    path = path_of(condition.field)
    is_empty = engine.IsEmptyCondition(path)
    must: list[Any] = []
    if condition.any:
        must.append(engine.Filter(should=_equal(path, condition.any, condition.field)))
    bounds = {name: getattr(condition, name) for name in ("gt", "gte", "lt", "lte")}
    if any(bound is not None for bound in bounds.values()):
        must.append(engine.FieldCondition(path, range=engine.RangeFloat(**bounds)))
    none = _equal(path, condition.none, condition.field)
    if condition.exists is False:
        must.append(is_empty)
    return engine.Filter(must=must, must_not=[*none, is_empty] if condition.exists else none)


def _equal(path: str, values: list[Any], field: str) -> list[Any]:
    # A Python bool would reach the engine as an integer; numpy's does not.
    ours: list[Any] = [np.bool_(value) if isinstance(value, bool) else value for value in values]
    try:
        return [engine.FieldCondition(path, match=engine.MatchValue(value)) for value in ours]
    except TypeError:
        raise WrongUse(f"filter on '{field[:60]}': an integer has at most 64 bits") from None


def _bytes(folder: Path) -> int:
    """That its files take on the disk, which is less than they are long."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def _number(path: Path) -> int:
    return int(path.name.partition("-")[2])
