"""The way of items from a source to vectors: decoded in threads while others are encoded, shard by shard.

A finished shard is written, noted in the ledger, and then sent to the index, in this order: whatever is lost in a kill
is done again, and ids make what is done twice the same point. A few shards are sent side by side while the next is
made. Knows no command line.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np

from enfold.client import Client
from enfold.errors import BadItem, EnfoldError, OutOfMemory, WrongUse
from enfold.modalities import Sample
from enfold.model import Model
from enfold.points import point_id
from serving import reach
from serving.index import Points, arrow
from serving.jobs import record
from serving.jobs.layout import place
from serving.jobs.ledger import Ledger
from serving.jobs.shards import Shards
from serving.jobs.source import Item, Source

SHARD_ITEMS = 512
SHARD_SAMPLES = 2048  # windows of long items
_AHEAD_ITEMS = 128  # decoded before they are needed
SENDERS = 4  # shards on their way to the index at a time
_UNREAD = "unread"  # state of an item that disk or memory, not its content, kept from being read: tried again next time


class Index:
    """The collection that a job fills."""

    def __init__(self, home: Client | reach.Local, name: str, model: Model, tokens: bool):
        self._home, self._name, self._model, self._changed = home, name, model, False
        home.create_collection(reach.collection_of(model, name, tokens=tokens))

    def holds(self, source: str, vectors: int) -> bool:
        """Whether no point of the source was erased since they were sent."""
        counted = {facet.value: facet.count for facet in self._home.facets(self._name, "source")}
        return counted.get(source, 0) >= vectors

    def send(self, points: Points) -> None:
        for piece in arrow.pieces(arrow.to_table(points, self._model.bundle.ref)):
            self._home.upsert(self._name, piece)
        self._changed = True

    def erase(self, ids: list[str]) -> None:
        self._home.delete(self._name, ids=ids)
        self._changed = True

    def finish(self, work: record.Running) -> None:
        """Build the graph and place the points on the map, unless nothing has moved."""
        if self._changed or not self._home.collection(self._name).has_layout:
            if self._home.collection(self._name).graph == "lacking":
                self._home.optimize(self._name)
            work.tell("layout")
            place(self._home, self._name)


@dataclass(frozen=True)
class Prepared:
    """An item on its way: ready for the encoder, or with the reason why not."""

    item: Item
    state: str
    samples: list[Sample]
    words: list[str | None] = field(default_factory=list)  # of each sample
    picture: bytes | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Made:
    """A shard: its points, the state of each of its items, and why some of them cannot be read."""

    points: Points
    states: dict[str, str]
    failures: dict[str, str]


Make = Callable[[Iterable[Item]], Iterator[Made]]  # shards of items, in their order


@dataclass(frozen=True)
class Maker:
    """Makes points of the items of one source.

    uri        the source's
    parts      a point per window of long items
    pictures   whether thumbnails are made
    tokens     whether the vectors of tokens are kept
    """

    model: Model
    uri: str
    parts: bool
    pictures: bool
    tokens: bool = False

    def make(self, items: Iterable[Item], threads: int) -> Iterator[Made]:
        """The shards of the items, in their order."""
        for prepared in self.shards(items, threads):
            points, shard = self.points(prepared)
            states = {one.item.key: one.state for one in shard}
            yield Made(points, states, {one.item.key: one.reason for one in shard if one.reason})

    def shards(self, items: Iterable[Item], threads: int) -> Iterator[list[Prepared]]:
        """The items in their order, decoded ahead, as many at a time as are embedded and kept together."""
        pool = ThreadPoolExecutor(threads, "decode")
        try:
            yield from _shards(_ahead(pool, self._prepare, items))
        finally:
            pool.shutdown(cancel_futures=True)

    def points(self, shard: list[Prepared]) -> tuple[Points, list[Prepared]]:
        """The points of a shard, and the shard, in which what there was not the memory for has its reason now."""
        shard, embeddings, tokens = self._embedded(shard)
        facts, bundle = self.model.facts(), self.model.bundle
        about = {"source": self.uri, "space": facts.space, "bundle": bundle.ref}
        if bundle.manifest.lineage.run is not None:
            about["run"] = bundle.manifest.lineage.run
        ids, payloads, pictures = [], [], {}
        for one in shard:
            for sample, words in zip(one.samples, one.words, strict=True):
                part = {} if sample.part is None else {"part": sample.part.model_dump(exclude_none=True)}
                own = one.item.id if sample.part is None else None
                ids.append(own or point_id(self.uri, one.item.key, sample.part))
                text = {} if words is None else {"text": words}
                payloads.append({**one.item.fields, **about, "item": one.item.key, **text, **part})
                if one.picture is not None:
                    pictures[ids[-1]] = one.picture
        vectors = self.model.vectors({"out_embedding": embeddings})
        return Points(ids, vectors, payloads, facts.space, pictures, tokens if self.tokens else None), shard

    def _embedded(self, shard: list[Prepared]) -> tuple[list[Prepared], np.ndarray, list[np.ndarray]]:
        """The shard, its raw embeddings and its tokens if those are kept, in halves until what there is not the memory
        for is left out.
        """
        samples = [sample for one in shard for sample in one.samples]
        try:
            encoded, tokens = self.model.encode_tokens(samples) if self.tokens else (self.model.encode(samples), [])
            return shard, encoded["out_embedding"], tokens
        except OutOfMemory as error:
            if len(shard) == 1:
                left_out = Prepared(shard[0].item, _UNREAD, [], reason=str(error))
                return [left_out], self.model.encode([])["out_embedding"], []
        half = len(shard) // 2
        first, second = self._embedded(shard[:half]), self._embedded(shard[half:])
        return first[0] + second[0], np.concatenate([first[1], second[1]]), first[2] + second[2]

    def _prepare(self, item: Item) -> Prepared:
        state = item.state()  # before reading: a change meanwhile is seen next time
        modality = self.model.modalities[self.model.entry()]
        try:
            value = modality.read(item.raw)
            picture = modality.thumbnail(value) if self.pictures else None
            samples = modality.prepare(value, parts=self.parts)
            return Prepared(item, state, samples, [modality.words(value, one.part) for one in samples], picture)
        except BadItem as error:
            return Prepared(item, state, [], reason=str(error))
        except OSError as error:
            return Prepared(item, _UNREAD, [], reason=f"{error.strerror or error}: {error.filename or item.key}")
        except MemoryError:
            return Prepared(item, _UNREAD, [], reason="there was not the memory to read it")
        except EnfoldError:
            raise
        except Exception as error:  # whatever a decoder throws at damaged bytes
            return Prepared(item, state, [], reason=f"it cannot be decoded ({error!r})")


@dataclass
class Pipeline:
    """One run of a job: what is done already is left alone."""

    make: Make
    ref: str  # of the bundle
    source: Source
    ledger: Ledger
    shards: Shards
    index: Index | None
    work: record.Running
    _senders: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(SENDERS, "send"), init=False)
    _sending: dict[int, Future[None]] = field(default_factory=dict, init=False)  # by the number of the shard

    def carry_out(self) -> tuple[int, float]:
        """Do everything that is not done yet: how many items that were, and the seconds they took."""
        try:
            self._recover()
            todo, changed = self._plan()
            self._forget(changed)
            fresh, failed, started = 0, self.ledger.counts()["failed"], time.monotonic()
            self._tell(0, todo, failed, 0.0)
            for made in self.make(self._undone()):
                self._finish(made)
                fresh, failed = fresh + len(made.states), failed + len(made.failures)
                self._tell(fresh, todo, failed, fresh / (time.monotonic() - started))
            self._send()
            return fresh, time.monotonic() - started
        finally:
            self._senders.shutdown(cancel_futures=True)

    def _recover(self) -> None:
        """Make ledger, shards and index agree after whatever happened since."""
        present = self.shards.present()
        for number in self.ledger.shards():
            if number not in present:
                self.ledger.lose(number)
        self.shards.keep_only(self.ledger.shards())
        self._send()
        if self.index is not None and not self.index.holds(self.source.uri, self.ledger.counts()["vectors"]):
            self.ledger.set_indexed(self.ledger.shards(), False)
            self._send()

    def _plan(self) -> tuple[int, list[str]]:
        """How many items are to be done, and which of them were done once but have changed."""
        todo, changed, seen = 0, [], set()
        for item in self.source.items():
            if item.key in seen:
                raise WrongUse(f"'{item.key}' stands for two items of {self.source.uri}: give each an id of its own")
            seen.add(item.key)
            before = self.ledger.state(item.key)
            if before != item.state():
                todo += 1
                changed += [item.key] if before is not None else []
        return todo, changed

    def _forget(self, changed: list[str]) -> None:
        present = self.shards.present()
        for number, keys in self.ledger.holding(changed).items():
            left = 0
            if number in present:
                if self.index is not None:
                    self.index.erase(self.shards.ids_of(number, keys))
                left = self.shards.remove(number, keys)
            self.ledger.forget(number, keys, left)

    def _undone(self) -> Iterator[Item]:
        """Items that the ledger does not know, those it was made to forget among them."""
        return (item for item in self.source.items() if self.ledger.state(item.key) is None)

    def _finish(self, made: Made) -> None:
        number = self.ledger.next_shard()
        if len(made.points.ids):
            self.shards.write(number, made.points, self.ref)
        self.ledger.add(number, made.states, made.failures, len(made.points.ids))
        self._send(under_way=SENDERS)

    def _send(self, under_way: int = 0) -> None:
        """Send the shards that the index lacks; returns when no more than `under_way` of them are yet to arrive."""
        if self.index is None:
            return
        for number in self.ledger.shards(indexed=False):
            if number not in self._sending:
                self._sending[number] = self._senders.submit(self._sent, self.index, number)
        while len(self._sending) > under_way:
            wait(self._sending.values(), return_when=FIRST_COMPLETED)
            for number in [number for number, sent in self._sending.items() if sent.done()]:
                self._sending.pop(number).result()
                self.ledger.set_indexed([number], True)

    def _sent(self, index: Index, number: int) -> None:
        index.send(self.shards.read(number))

    def _tell(self, fresh: int, todo: int, failed: int, rate: float) -> None:
        if fresh == SHARD_ITEMS < todo:  # the first shard: now it can be said what the rest will cost
            self.work.say(f"{todo:,} items at {rate:,.0f} a second: about {(todo - fresh) / rate:,.0f} s more")
        done = self.source.count - todo + fresh
        self.work.tell("embed", done=done, total=self.source.count, failed=failed, items_per_second=round(rate, 1))


def _ahead(pool: ThreadPoolExecutor, work: Callable[[Item], Prepared], items: Iterable[Item]) -> Iterator[Prepared]:
    """Results in order, the next ones under way meanwhile."""
    waiting: deque[Future[Prepared]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > _AHEAD_ITEMS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _shards(prepared: Iterable[Prepared]) -> Iterator[list[Prepared]]:
    """A shard ends at every SHARD_ITEMS-th item, whoever makes it, and before where windows are many."""
    shard: list[Prepared] = []
    samples = 0
    for number, one in enumerate(prepared, 1):
        shard.append(one)
        samples += len(one.samples)
        if number % SHARD_ITEMS == 0 or samples >= SHARD_SAMPLES:
            yield shard
            shard, samples = [], 0
    if shard:
        yield shard
