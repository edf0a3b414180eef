"""Collections on a Qdrant server (ENFOLD_QDRANT_URL): more than one machine can hold them, fill them and search them.

What the embedded engine keeps in files of its own is kept in the points here: a thumbnail and a place on the map are
payload fields that no answer shows. What a collection is stands in its metadata; collections of others are left alone.
Every generation is a collection of the server, `photos@1`; `photos` is an alias.
"""
# N points, D dimensions

import base64
import logging
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import pyarrow as pa
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException

from enfold import wire
from enfold.errors import Conflict, Unavailable, UnknownName, WrongUse
from enfold.settings import Settings
from serving.index import Points, Query, arrow, filters, quantised
from serving.index.checks import check_points, check_query, check_same, kind_of
from serving.index.names import generation_of, path_of, uuid_of

T = TypeVar("T")
MAX_FACETS = 1000
PAGE = 1000  # points of one request
# Points of one write, and numbers of their tokens: with thumbnails they stay far below the 32 MB that a server takes.
_WRITTEN_PAGE, _WRITTEN_NUMBERS = 250, 500_000
MAX_REACH = 110_000  # hits that one search asks for, those among them that it passes over
MAX_CONDITIONS = 70_000  # of one filter, every value being one
_SECONDS = 30
# Seconds for which a server that cannot be reached or has too much to do is asked again: by who waits for an answer,
# and by who writes, most often a job, for which beginning again costs more.
_PATIENCE, _WRITING_PATIENCE = 3.0, 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_log = logging.getLogger(__name__)
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED)
_BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED, grpc.StatusCode.DATA_LOSS)
_MARK, _PLACE = "enfold", "enfold_place"  # in a collection's metadata: what it is, and its name on the server
_MAIN, _TOKENS = "embedding", "tokens"  # names of a point's vectors where there are tokens; else the one has none
_LEAVING = "@leaving"  # ends the alias of a generation that was left
_PICTURE, _NOTES = "_enfold_thumbnail", {kind: f"_enfold_{kind}" for kind in arrow.NOTES}
_OWN = [_PICTURE, *_NOTES.values()]
_SHOWN = models.PayloadSelectorExclude(exclude=_OWN)
_SCHEMAS = {
    str: models.PayloadSchemaType.KEYWORD,
    bool: models.PayloadSchemaType.BOOL,
    int: models.PayloadSchemaType.INTEGER,
}
# As the embedded engine tells words apart.
WORDS = models.TextIndexParams(
    type=models.TextIndexType.TEXT,
    tokenizer=models.TokenizerType.MULTILINGUAL,
    lowercase=True,
    ascii_folding=True,
    phrase_matching=True,
    scoring=True,
)
_GRAPH = models.HnswConfigDiff(m=16, ef_construct=128)
_EIGHT_BITS = models.ScalarQuantization(
    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=quantised.QUANTILE, always_ram=True)
)
_RESCORED = models.QuantizationSearchParams(rescore=True, oversampling=quantised.OVERSAMPLING)
FEW = 20_000  # points up to which a server compares them one by one, and there is nothing to gain
# What our own requests never go over. Fields without an index may be filtered by, as on the embedded engine.
_STRICT = models.StrictModeConfig(
    enabled=True,
    max_query_limit=MAX_REACH,
    max_timeout=_SECONDS,
    upsert_max_batchsize=PAGE,
    filter_max_conditions=MAX_CONDITIONS,
    search_max_oversampling=quantised.OVERSAMPLING,
)
_FUSIONS: dict[str, Any] = {
    "rrf": models.RrfQuery(rrf=models.Rrf(k=60)),
    "dbsf": models.FusionQuery(fusion=models.Fusion.DBSF),
}


class ServerIndex:
    def __init__(self, client: QdrantClient):
        self._client = client
        warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local Qdrant")

    @classmethod
    def connect(cls, settings: Settings) -> "ServerIndex":
        """The server that `settings.qdrant_url` names: http://host:6333 or grpc://host:6334; https, grpcs speak TLS."""
        address = urlsplit(settings.qdrant_url)
        if address.scheme not in ("http", "https", "grpc", "grpcs") or not address.hostname:
            raise WrongUse(
                f"ENFOLD_QDRANT_URL={settings.qdrant_url!r}: write http://host:6333 or grpc://host:6334 (https, grpcs)"
            )
        grpc, tls = address.scheme.startswith("grpc"), address.scheme.endswith("s")
        key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
        logging.getLogger("httpx").setLevel(logging.WARNING)
        client = QdrantClient(
            host=address.hostname,
            port=6333 if grpc else address.port or 6333,
            grpc_port=address.port or 6334 if grpc else 6334,
            prefer_grpc=grpc,
            https=tls,
            api_key=key,
            timeout=_SECONDS,
            check_compatibility=False,
        )
        index = cls(client)
        index.names()  # a server that is not there is noticed now
        return index

    def create(self, new: wire.NewCollection) -> "ServerCollection":
        told = self._told(new.name)
        if told is None:
            first = f"{new.name}@1"
            if self._told(first) is not None:  # a creation that was killed before the name meant it
                answered(lambda: self._client.delete_collection(first))
            self._make(new, first)
            self._alias({new.name: first})
        elif (have := _facts(told)) is None:
            raise Conflict(f"the Qdrant server has a collection '{new.name}' that is not enfold's: take another name")
        else:
            check_same(new, have, new.name)
        return self.collection(new.name)

    def drop(self, name: str) -> None:
        kept, (base, number) = self.generations(name), generation_of(name)
        if number == kept.live:
            raise Conflict(f"'{base}' means '{name}': enfold index upgrade {base} --back, or drop '{base}' whole")
        others = [one for one in kept.all if one != kept.live]
        # A collection's aliases go with it: the name is the last to go.
        for one in [*others, kept.live] if number is None else [number]:
            answered(lambda one=one: self._client.delete_collection(f"{base}@{one}"))  # type: ignore[misc]

    def names(self) -> list[str]:
        return [kept.facts.name for kept in self.all()]

    def collection(self, name: str) -> "ServerCollection":
        told = self._told(name)
        facts = None if told is None else _facts(told)
        if told is None or facts is None:
            raise UnknownName.among("collection", name, self.names())
        return ServerCollection(self._client, facts, told[_PLACE])

    def all(self) -> "list[ServerCollection]":
        known = sorted(name for name in self._aliases() if generation_of(name)[1] is None)
        found = [(told, _facts(told)) for name in known if (told := self._told(name)) is not None]
        return [ServerCollection(self._client, facts, told[_PLACE]) for told, facts in found if facts is not None]

    def generations(self, name: str) -> wire.Generations:
        self.collection(name)
        base, aliases = generation_of(name)[0], self._aliases()
        places = [one.name for one in answered(self._client.get_collections).collections]
        numbers = sorted(number for place in places if (number := _number(base, place)))
        live, leaving = (_number(base, aliases.get(alias, "")) for alias in (base, f"{base}{_LEAVING}"))
        return wire.Generations(name=base, live=live or 0, all=numbers, leaving=leaving)

    def next_generation(self, new: wire.NewCollection) -> wire.Generations:
        kept = self.generations(new.name)
        if (newest := kept.all[-1]) != kept.live:
            have = self.collection(f"{new.name}@{newest}").facts
            check_same(new, have, f"{new.name}@{newest}")
        else:
            self._make(new, f"{new.name}@{newest + 1}")
        return self.generations(new.name)

    def switch(self, name: str, to: int) -> wire.Generations:
        kept = self.generations(name)
        self.collection(f"{kept.name}@{to}")
        if to != kept.live:
            self._alias({kept.name: f"{kept.name}@{to}", f"{kept.name}{_LEAVING}": f"{kept.name}@{kept.live}"})
        return self.generations(name)

    def settle(self, name: str) -> wire.Generations:
        kept = self.generations(name)
        if kept.leaving is not None:
            self._alias({f"{kept.name}{_LEAVING}": None})
        return self.generations(name)

    def close(self) -> None:
        self._client.close()

    def _told(self, name: str) -> dict[str, Any] | None:
        """A collection's metadata; None for one that is not there."""
        if not answered(lambda: self._client.collection_exists(name)):
            return None
        return answered(lambda: self._client.get_collection(name)).config.metadata or {}

    def _aliases(self) -> dict[str, str]:
        return {one.alias_name: one.collection_name for one in answered(self._client.get_aliases).aliases}

    def _alias(self, meant: dict[str, str | None]) -> None:
        """Let names mean collections, or nothing, all at once."""
        known, changes = self._aliases(), list[Any]()
        for alias, place in meant.items():
            if alias in known:
                gone = models.DeleteAlias(alias_name=alias)
                changes.append(models.DeleteAliasOperation(delete_alias=gone))
            if place is not None:
                come = models.CreateAlias(collection_name=place, alias_name=alias)
                changes.append(models.CreateAliasOperation(create_alias=come))
        answered(lambda: self._client.update_collection_aliases(changes))

    def _make(self, new: wire.NewCollection, place: str) -> None:
        vectors: Any = models.VectorParams(size=new.dimensions, distance=models.Distance.COSINE)
        if new.tokens is not None:
            late = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
            tokens = models.VectorParams(
                size=new.tokens,
                distance=models.Distance.COSINE,
                multivector_config=late,
                hnsw_config=models.HnswConfigDiff(m=0),  # only ever compared with a few points
                on_disk=True,
            )
            vectors = {_MAIN: vectors, _TOKENS: tokens}
        about = {_MARK: new.model_dump(mode="json"), _PLACE: place}
        answered(
            lambda: self._client.create_collection(
                place, vectors, hnsw_config=_GRAPH, strict_mode_config=_STRICT, metadata=about
            )
        )
        made = ServerCollection(self._client, new, place)
        for field in ("source", "item", "label", "split"):  # what jobs and the explorer ask for
            made.index_by(field, _SCHEMAS[str])


def _number(name: str, place: str) -> int | None:
    """Which generation of a collection is kept there; None if it is none of it."""
    base, number = generation_of(place)
    return number if base == name else None


def _facts(metadata: dict[str, Any]) -> wire.NewCollection | None:
    """What a collection is; None for one of others."""
    return wire.NewCollection.model_validate(metadata[_MARK]) if _MARK in metadata else None


class ServerCollection:
    def __init__(self, client: QdrantClient, facts: wire.NewCollection, place: str):
        """place   its name on the server, where `facts.name` is an alias"""
        self._client, self.facts, self._place = client, facts, place
        self._main = None if facts.tokens is None else _MAIN

    def info(self) -> wire.CollectionInfo:
        name = self._place
        noted = {
            f"has_{kind}": next(self._records(1, _having(field), with_payload=False), None) is not None
            for kind, field in _NOTES.items()
        }
        told = answered(lambda: self._client.get_collection(name))
        points, indexed = answered(lambda: self._client.count(name, exact=True)).count, told.indexed_vectors_count or 0
        indexed = indexed if self._main is None else indexed // 2  # a point's tokens count as one more vector
        busy = told.status == models.CollectionStatus.YELLOW
        return wire.CollectionInfo(
            **self.facts.model_dump(),
            points=points,
            indexed=indexed,
            graph="building" if busy else "built" if indexed else "small",
            quantised=told.config.quantization_config is not None,
            **noted,
        )

    def upsert(self, points: Points) -> int:
        ids = check_points(points, self.facts)
        found = self._retrieve(ids, list(_NOTES.values()), _WRITING_PATIENCE)
        noted = {str(one.id): one.payload or {} for one in found}
        vectors: list[Any] = points.vectors.tolist()
        if points.tokens is not None:
            vectors = [{_MAIN: one, _TOKENS: own.tolist()} for one, own in zip(vectors, points.tokens, strict=True)]
        built = []
        for given, id, vector, payload in zip(points.ids, ids, vectors, points.payloads, strict=True):
            own = dict(noted.get(id, {}))
            if given in points.thumbnails:
                own[_PICTURE] = base64.b64encode(points.thumbnails[given]).decode()
            built.append(models.PointStruct(id=id, vector=vector, payload={**payload, **own}))
        numbers = max((one.size for one in points.tokens or ()), default=0)
        page = max(1, min(_WRITTEN_PAGE, _WRITTEN_NUMBERS // max(numbers, 1)))
        for at in range(0, len(built), page):
            write = partial(self._client.upsert, self._place, built[at : at + page], wait=True)
            answered(write, _WRITING_PATIENCE)
        return len(ids)

    def query(self, asked: Query) -> list[wire.Hit]:
        check_query(asked, self.facts)
        rankings = self._rankings(asked)
        if not rankings:
            return []
        keep = models.Filter(
            must=_conditions_of(asked.filter),
            must_not=[models.HasIdCondition(has_id=[uuid_of(id) for id in asked.but])] if asked.but else [],
        )
        how = models.SearchParams(exact=asked.exact, quantization=_RESCORED)
        depth = max(asked.depth, asked.limit + asked.offset)
        query = rankings[0] if len(rankings) == 1 else {"query": _FUSIONS[asked.fuse]}
        if asked.tokens is not None:
            query = {"query": models.NearestQuery(nearest=asked.tokens.tolist()), "using": _TOKENS}
            rankings = [] if asked.exact else rankings
        before = [models.Prefetch(**one, filter=keep, params=how, limit=depth) for one in rankings if one is not query]
        search = partial(
            self._client.query_points,
            self._place,
            **query,
            prefetch=before or None,
            query_filter=keep,
            search_params=how,
            limit=asked.limit,
            offset=asked.offset,
            score_threshold=asked.min_score,
            with_payload=_SHOWN,
        )
        try:
            found = answered(search)
        except ValueError as error:  # of a filter that cannot be written as the server wants it
            raise WrongUse(f"the filter cannot be asked for: {error}") from None
        return [wire.Hit(id=str(hit.id), score=hit.score, payload=hit.payload or {}) for hit in found.points]

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        wanted = [uuid_of(id) for id in ids]
        which = True if self._main is None else [self._main]
        records = answered(lambda: self._client.retrieve(self._place, wanted, with_payload=False, with_vectors=which))
        found = {str(record.id): self._vector(record) for record in records}
        for id in wanted:
            if id not in found:
                raise UnknownName(f"collection '{self.facts.name}' has no point {id}")
        return np.array([found[id] for id in wanted], np.float32).reshape(len(wanted), self.facts.dimensions)

    def sample(self, size: int) -> list[wire.Point]:
        query = models.SampleQuery(sample=models.Sample.RANDOM)
        found = answered(lambda: self._client.query_points(self._place, query=query, limit=size, with_payload=_SHOWN))
        return [wire.Point(id=str(one.id), payload=one.payload or {}) for one in found.points]

    def retrieve(self, ids: Sequence[str]) -> list[wire.Point]:
        found = self._retrieve([uuid_of(id) for id in ids], _SHOWN)
        return [wire.Point(id=str(one.id), payload=one.payload or {}) for one in found]

    def facet(self, field: str) -> list[wire.Facet]:
        if not self._is_indexed(field):
            return []
        found = answered(lambda: self._client.facet(self._place, path_of(field), limit=MAX_FACETS, exact=True))
        hits = sorted(found.hits, key=lambda hit: -hit.count)
        return [wire.Facet(value=hit.value, count=hit.count) for hit in hits]

    def delete(self, *, ids: Sequence[str] = (), source: str | None = None) -> int:
        doomed = {str(one.id) for one in self._retrieve([uuid_of(id) for id in ids], False)}
        if source is not None:
            of_source = models.Filter(must=[_condition_of(wire.Condition(field="source", any=[source]))])
            doomed |= {str(record.id) for record in self._records(PAGE, of_source, with_payload=False)}
        if doomed:
            chosen = models.PointIdsList(points=sorted(doomed))
            answered(lambda: self._client.delete(self._place, chosen, wait=True), _WRITING_PATIENCE)
        return len(doomed)

    def scroll(self, size: int = PAGE, *, thumbnails: bool = False, tokens: bool = False) -> Iterator[Points]:
        tokens = tokens and self.facts.tokens is not None
        which = True if self._main is None or tokens else [self._main]
        shown = models.PayloadSelectorExclude(exclude=list(_NOTES.values())) if thumbnails else _SHOWN
        records = self._records(size, with_payload=shown, with_vectors=which)
        while page := list(islice(records, size)):
            payloads = [dict(record.payload or {}) for record in page]
            pictures = {
                str(record.id): base64.b64decode(payload.pop(_PICTURE))
                for record, payload in zip(page, payloads, strict=True)
                if _PICTURE in payload
            }
            ids, vectors = [str(record.id) for record in page], np.array(list(map(self._vector, page)), np.float32)
            of_tokens = [np.array(record.vector[_TOKENS], np.float32) for record in page] if tokens else None
            yield Points(ids, vectors, payloads, self.facts.space, pictures, of_tokens)

    def optimize(self) -> None:
        info = self.info()
        if info.quantised or info.points < FEW or self._main is not None:  # tokens would be rounded with them
            return
        query = models.SampleQuery(sample=models.Sample.RANDOM)
        found = answered(
            lambda: self._client.query_points(
                self._place, query=query, limit=quantised.SAMPLE, with_payload=False, with_vectors=True
            )
        )
        kept = quantised.recall(np.array([one.vector for one in found.points], np.float32))
        if kept < quantised.RECALL:
            _log.info("'%s' keeps its vectors whole: of 8 bits they would lose %.3f", self.facts.name, 1 - kept)
            return
        answered(lambda: self._client.update_collection(self._place, quantization_config=_EIGHT_BITS))

    def notes(self, kind: str) -> Any:
        field, schema = _NOTES[kind], arrow.NOTES[kind]
        others = models.PayloadSelectorExclude(exclude=[name for name in _OWN if name != field])
        rows, payloads = [], {}
        for record in self._records(PAGE, _having(field), with_payload=others):
            payload = dict(record.payload)
            rows.append({"id": str(record.id), **payload.pop(field)})
            payloads[str(record.id)] = payload
        if not rows:
            raise UnknownName(
                f"collection '{self.facts.name}' has no {kind} yet: enfold index {kind} {self.facts.name}"
            )
        return arrow.with_payloads(pa.Table.from_pylist(rows, schema=schema), payloads)

    def set_notes(self, kind: str, table: Any) -> None:
        rows = arrow.checked_notes(kind, table).to_pylist()
        for at in range(0, len(rows), PAGE):
            page: list[Any] = []
            for row in rows[at : at + PAGE]:
                note = models.SetPayload(points=[uuid_of(row.pop("id"))], payload={_NOTES[kind]: row})
                page.append(models.SetPayloadOperation(set_payload=note))
            write = partial(self._client.batch_update_points, self._place, page, wait=True)
            answered(write, _WRITING_PATIENCE)

    def thumbnail(self, id: str) -> bytes:
        found = self._retrieve([uuid_of(id)], [_PICTURE])
        if not found or _PICTURE not in (found[0].payload or {}):
            raise UnknownName(f"point {id} of collection '{self.facts.name}' has no thumbnail")
        return base64.b64decode(found[0].payload[_PICTURE])

    def index_by(self, field: str, schema: Any) -> None:
        """Have the server index a payload field."""
        answered(lambda: self._client.create_payload_index(self._place, path_of(field), schema, wait=True))

    def _vector(self, record: Any) -> Any:
        """Of a record that came with more vectors than one, that of the space."""
        return record.vector if self._main is None else record.vector[self._main]

    def _rankings(self, asked: Query) -> list[dict[str, Any]]:
        """The server's queries that each give a ranking: of vectors, of words, or both."""
        rankings: list[dict[str, Any]] = []
        vector = None if asked.vector is None else asked.vector.tolist()
        pairs = [models.ContextPair(positive=a.tolist(), negative=b.tolist()) for a, b in asked.context]
        if asked.diversity:
            depth = max(asked.depth, 5 * (asked.limit + asked.offset))
            mmr = models.Mmr(diversity=asked.diversity, candidates_limit=depth)
            rankings.append({"query": models.NearestQuery(nearest=vector, mmr=mmr), "using": self._main})
        elif vector is not None and pairs:
            discover = models.DiscoverInput(target=vector, context=pairs)
            rankings.append({"query": models.DiscoverQuery(discover=discover), "using": self._main})
        elif pairs:
            rankings.append({"query": models.ContextQuery(context=pairs), "using": self._main})
        elif vector is not None:
            rankings.append({"query": models.NearestQuery(nearest=vector), "using": self._main})
        if asked.words is not None and self._is_indexed(asked.words_in, words=True):
            rankings.append({"query": models.TextQuery(text=asked.words), "using": path_of(asked.words_in)})
        return rankings

    def _is_indexed(self, field: str, *, words: bool = False) -> bool:
        """Have a field indexed, by its values or by their words; False if no point has it."""
        path = path_of(field)
        schema = answered(lambda: self._client.get_collection(self._place)).payload_schema
        have = schema.get(path) or schema.get(field)
        if have is not None and (have.data_type == models.PayloadSchemaType.TEXT) == words:
            return True
        record = next(self._records(1, _having(field), with_payload=[path]), None)
        if record is None:
            return False
        kind = kind_of(field, record.payload[field], words=words)
        if have is not None:
            answered(lambda: self._client.delete_payload_index(self._place, path, wait=True))
        self.index_by(field, WORDS if words else _SCHEMAS[kind])
        return True

    def _retrieve(self, ids: list[str], payload: Any, patience: float = _PATIENCE) -> list[Any]:
        return answered(lambda: self._client.retrieve(self._place, ids, with_payload=payload), patience) if ids else []

    def _records(self, size: int, filter: models.Filter | None = None, **what: Any) -> Iterator[Any]:
        offset: Any = None
        while True:
            records, offset = answered(
                lambda offset=offset: self._client.scroll(self._place, filter, size, offset=offset, **what)  # type: ignore[misc]
            )
            yield from records
            if offset is None:
                return


def answered(ask: Callable[[], T], patience: float = _PATIENCE) -> T:
    """What the server answers. One that cannot be reached or has too much to do is asked again, after the time that it
    names or longer and longer pauses, as long as the next try is begun within `patience` seconds. A little chance in
    every pause keeps those who were refused together from coming back together.

    One that gave no answer in _SECONDS is not asked again: whoever waits for it has waited long enough.
    Raises Unavailable, or WrongUse for what the server will never do.
    """
    deadline, pause = time.monotonic() + patience, _FIRST_PAUSE
    while True:
        told = 0.0
        try:
            return ask()
        except ResourceExhaustedResponse as error:
            reason, again, told = str(error), True, float(error.retry_after_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise _too_slow() from None
            reason, again = error.details(), error.code() in (*_AGAIN, *_BROKEN)
        except (ApiException, QdrantException, httpx.HTTPError, OSError) as error:
            if isinstance(getattr(error, "source", error), httpx.TimeoutException):
                raise _too_slow() from None
            status = getattr(error, "status_code", None)
            reason, again = str(error), status is None or status >= 500 or status == 429
        if not again:
            raise WrongUse(f"Qdrant refused it: {reason}")
        wait = max(told, pause) * random.uniform(1, 1.5)
        if time.monotonic() + wait > deadline:
            gone = Unavailable(f"Qdrant does not answer ({reason}): see ENFOLD_QDRANT_URL")
            gone.retry_after_seconds = max(1, math.ceil(told))
            raise gone
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _too_slow() -> Unavailable:
    return Unavailable(f"Qdrant gave no answer in {_SECONDS:g} s: it has too much to do, or hangs")


def _having(field: str) -> models.Filter:
    return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=path_of(field)))])


def _conditions_of(told: Sequence[wire.Condition] | dict[str, Any]) -> list[Any]:
    """What must hold; a dict is a filter in Qdrant's own words."""
    return [filters.read(told)] if isinstance(told, dict) else [_condition_of(one) for one in told]


def _condition_of(condition: wire.Condition) -> models.Filter:
    path = path_of(condition.field)
    is_empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=path))
    must: list[Any] = []
    if condition.any:
        must.append(models.Filter(should=_equal(path, condition.any, condition.field)))
    bounds = {name: getattr(condition, name) for name in ("gt", "gte", "lt", "lte")}
    if any(bound is not None for bound in bounds.values()):
        must.append(models.FieldCondition(key=path, range=models.Range(**bounds)))
    none = _equal(path, condition.none, condition.field)
    if condition.exists is False:
        must.append(is_empty)
    return models.Filter(must=must, must_not=[*none, is_empty] if condition.exists else none)


def _equal(path: str, values: list[Any], field: str) -> list[Any]:
    if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in values):
        raise WrongUse(f"filter on '{field[:60]}': an integer has at most 64 bits")
    return [models.FieldCondition(key=path, match=models.MatchValue(value=value)) for value in values]
