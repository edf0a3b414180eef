"""What waits for one model: a bounded queue, emptied in batches of similar cost.

- The bound is time: the work that was let in and is not yet answered, in seconds at the measured pace. Past it every
  request is refused, one item or many alike, with the time after which asking again makes sense.
- A batch is made the moment the model is free, of whatever waits then: a lone request never waits for company.
- The next item is the first of the caller who has had the least of the model's time; with it go those of nearest cost,
  whoever sent them, so that little of a padded batch is padding.
- Work whose request has ended (answered late, or the caller left) is dropped before it runs.
"""

import asyncio
import math
import threading
import time
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from enfold.errors import Busy
from enfold.modalities import Arrays, Sample
from enfold.model import Model
from serving import tracing
from serving.call import CALL, Call
from serving.health import ROWS, Rows
from serving.metrics import child

T = TypeVar("T")

BATCH_ITEMS = 16  # of two cores; more gained nothing, and whoever came meanwhile waited longer
BATCH_SECONDS = 0.25  # that a batch of several may take
MOST_PADDING = 1.5  # padded / real cost of a batch
_MEMORY = 0.95  # of the measured pace: how much of it remains after each batch

WAIT = Histogram("enfold_queue_seconds", "From prepared to the start of its batch", ["model"])
ENCODE = Histogram("enfold_encode_seconds", "One batch through the encoder", ["model"])
FILL = Histogram("enfold_batch_items", "Items of a batch", ["model"], buckets=(1, 2, 4, 8, 16, 32))
REAL = Counter("enfold_cost", "Cost of encoded items, without padding", ["model"])
PADDED = Counter("enfold_padded_cost", "Cost of encoded batches, with padding", ["model"])
SHED = Counter("enfold_shed", "Requests refused because too much was waiting", ["model"])
DROPPED = Counter("enfold_dropped", "Items whose request ended before they ran", ["model"])
FAILED = Counter("enfold_runtime_errors", "Batches that the runtime failed on", ["model"])


@dataclass(slots=True, eq=False)
class _Work:
    """What one request waits for."""

    done: "asyncio.Future[Any]"
    caller: str
    missing: int
    rows: Arrays = field(default_factory=dict)
    since: float = field(default_factory=time.perf_counter)
    waited: float = 0.0  # seconds until its last batch began
    company: int = 1  # items of that batch

    def put(self, at: int, outputs: Arrays, row: int, count: int) -> None:
        """Row `row` of a batch's outputs is this work's sample `at` of `count`."""
        for name, values in outputs.items():
            if count == 1:
                self.rows[name] = values[row : row + 1]
                continue
            if name not in self.rows:
                self.rows[name] = np.empty((count, *values.shape[1:]), values.dtype)
            self.rows[name][at] = values[row]
        self.missing -= 1


@dataclass(slots=True, eq=False)
class _Piece:
    """A sample to encode, or a function to call while nothing else uses the model."""

    work: _Work
    key: str  # what its pace is kept under: the entry, or the name of what is called
    cost: int = 1
    order: int = 0
    sample: Sample | None = None
    at: int = 0
    of: int = 1
    function: Callable[[], Any] | None = None
    taken: bool = False


class _Pace:
    """Seconds a unit of cost, and units an item, as measured lately; 0 seconds before anything ran."""

    def __init__(self) -> None:
        self._seconds = self._cost = self._items = 0.0

    def add(self, seconds: float, cost: float, items: int) -> None:
        self._seconds = self._seconds * _MEMORY + seconds
        self._cost = self._cost * _MEMORY + cost
        self._items = self._items * _MEMORY + items

    def of_cost(self, cost: float) -> float:
        return cost * self._seconds / self._cost if self._cost else 0.0

    def of_items(self, items: float) -> float:
        return items * self._seconds / self._items if self._items else 0.0


@dataclass(slots=True)
class _Held:
    """What one caller has under way."""

    seconds: float = 0.0
    requests: int = 0


class Ticket:
    """A request that was let in: the seconds of work it is counted with, corrected when its true cost is known."""

    def __init__(self, held: _Held):
        self._held, self.seconds = held, 0.0

    def count(self, seconds: float) -> None:
        self._held.seconds += seconds - self.seconds
        self.seconds = seconds


class Backlog(Collector):
    """How much waits, looked up when /metrics is read and not counted with every request.

    batchers   those in use
    """

    def __init__(self, batchers: "Callable[[], Iterable[Batcher]]"):
        self._batchers = batchers

    def describe(self) -> list[GaugeMetricFamily]:
        text = "Work let in and not yet answered, at the measured pace"
        return [GaugeMetricFamily("enfold_queue_work_seconds", text, labels=["model"])]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        [family] = self.describe()
        work: dict[str, float] = defaultdict(float)  # variants and sizes of a model have a queue each
        for batcher in self._batchers():
            work[batcher.name] += batcher.backlog
        for name, seconds in work.items():
            family.add_metric([name], seconds)
        yield family


class Batcher:
    """One model's queue and the thread that empties it. Everything but that thread runs on the event loop."""

    def __init__(self, model: Model, patience_seconds: float):
        """patience_seconds   how much work may wait"""
        self.model, self._patience, self.name = model, patience_seconds, model.bundle.ref
        self._paces: dict[str, _Pace] = defaultdict(_Pace)
        self._held: dict[str, _Held] = {}  # by caller
        self._changed = threading.Condition()
        self._lanes: dict[str, deque[_Piece]] = {}  # by caller, in the order they came
        self._used: dict[str, float] = {}  # seconds that each waiting caller has had
        self._by_cost: list[tuple[str, int, int, _Piece]] = []  # samples alone, sorted
        self._count = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        self.recent: dict[str, Rows] = defaultdict(lambda: deque(maxlen=ROWS))  # by entry: the last raw embeddings

    # --- letting in -------------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> float:
        """Seconds of work let in and not yet answered."""
        return sum(held.seconds for held in list(self._held.values()))

    def check(self, call: Call) -> None:
        """Raises Busy if a request that comes now must be refused; the same for one item and for many.

        Past the bound a caller who holds less than an even share of it is still let in, as long as it is one other
        caller's work that fills the queue.
        """
        backlog = self.backlog
        full = backlog > self._patience and not self._spared(call.caller, backlog)
        if not full and backlog <= max(call.seconds_left, 0.0):  # one that is over already ends by itself
            return
        child(SHED, self.name).inc()
        why = "too much is waiting" if full else "its answer would come after the caller's deadline"
        busy = Busy(f"{why}: {backlog:.1f} s of work for {self.name} is under way, ask again later")
        busy.retry_after_seconds = max(1, math.ceil(backlog - self._patience / 2))
        raise busy

    def _spared(self, caller: str, backlog: float) -> bool:
        own, others = self._held.get(caller, _Held()).seconds, len(self._held) - (caller in self._held)
        heaviest = max(held.seconds for held in self._held.values())
        return own < self._patience / (others + 1) and backlog - heaviest <= self._patience

    @contextmanager
    def admitted(self, key: str, items: int) -> Iterator[Ticket]:
        """Let a request in and count it until its answer is there. Raises Busy."""
        call = CALL.get()
        self.check(call)
        held = self._held.setdefault(call.caller, _Held())
        ticket = Ticket(held)
        held.requests += 1
        ticket.count(self._paces[key].of_items(items))
        try:
            yield ticket
        finally:
            call.charge(ticket.seconds)
            ticket.count(0.0)
            held.requests -= 1
            if not held.requests:
                del self._held[call.caller]

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def encode(self, samples: Sequence[Sample], entry: str, ticket: Ticket) -> Arrays:
        """Encoder outputs of the samples, one row each in their order."""
        if not samples:
            return self.model.encode(samples, entry)
        modality, work = self.model.modalities[entry], self._work(len(samples))
        pieces = [
            _Piece(work, entry, modality.cost(sample), sample=sample, at=at, of=len(samples))
            for at, sample in enumerate(samples)
        ]
        ticket.count(self._paces[entry].of_cost(sum(piece.cost for piece in pieces)))
        return await self._done("encode", entry, pieces)

    async def call(self, key: str, function: Callable[[], T]) -> T:
        """Call the function on the model's thread, while nothing else uses the model."""
        found: T = await self._done("task", key, [_Piece(self._work(1), key, function=function)])
        return found

    async def _done(self, what: str, key: str, pieces: list[_Piece]) -> Any:
        """What came of the pieces of one work."""
        work = pieces[0].work
        with tracing.span(what, model=self.name, key=key, samples=len(pieces)):
            self._put(pieces)
            found = await work.done
            tracing.note(queue_ms=round(work.waited * 1000, 3), batch_items=work.company)
        return found

    def close(self) -> None:
        """End the thread when nothing waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self, count: int) -> _Work:
        return _Work(asyncio.get_running_loop().create_future(), CALL.get().caller, count)

    def _put(self, pieces: list[_Piece]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"batcher {self.name}", daemon=True)
            self._thread.start()
        caller = pieces[0].work.caller
        with self._changed:
            lane = self._lanes.get(caller)
            if lane is None:  # whoever was away starts level with those who wait
                lane = self._lanes[caller] = deque()
                self._used[caller] = min(self._used.values(), default=0.0)
            for piece in pieces:
                piece.order = self._count
                self._count += 1
                lane.append(piece)
                if piece.sample is not None:
                    insort(self._by_cost, (piece.key, piece.cost, piece.order, piece))
            self._changed.notify()

    # --- running ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if batch[0].function is not None:
                self._call(batch[0])
            else:
                self._encode(batch)

    def _next(self) -> list[_Piece] | None:
        with self._changed:
            while True:
                head = self._head()
                if head is None:
                    if self._closed:
                        return None
                    self._changed.wait()
                    continue
                batch = [head] if head.sample is None else self._similar(head)
                for piece in batch:
                    piece.taken = True
                    self._used[piece.work.caller] += self._paces[piece.key].of_cost(piece.cost)
                if batch:
                    return batch

    def _head(self) -> _Piece | None:
        """The first piece of the caller who has had least; what nobody waits for any more goes on the way."""
        while self._lanes:
            caller = min(self._lanes, key=self._used.__getitem__)
            lane = self._lanes[caller]
            while lane and (lane[0].taken or lane[0].work.done.done()):
                gone = lane.popleft()
                if not gone.taken:
                    self._forget(gone)
            if lane:
                return lane[0]
            del self._lanes[caller], self._used[caller]
        return None

    def _forget(self, piece: _Piece) -> None:
        piece.taken = True
        child(DROPPED, self.name).inc()
        if piece.sample is not None:
            del self._by_cost[bisect_left(self._by_cost, (piece.key, piece.cost, piece.order))]

    def _similar(self, head: _Piece) -> list[_Piece]:
        """The head and its nearest neighbours in cost, as many as one batch takes."""
        queue, pace, most = self._by_cost, self._paces[head.key], self.model.modalities[head.key].batch_cost
        low = bisect_left(queue, (head.key, head.cost, head.order))
        high, real = low + 1, head.cost  # the batch is queue[low:high]
        while high - low < BATCH_ITEMS:
            below = queue[low - 1] if low and queue[low - 1][0] == head.key else None
            above = queue[high] if high < len(queue) and queue[high][0] == head.key else None
            if below is None and above is None:
                break
            down = above is None or (below is not None and head.cost - below[1] <= above[1] - head.cost)
            near = below if down else above
            assert near is not None
            longest = queue[high - 1][1] if down else near[1]
            padded = longest * (high - low + 1)
            if padded > min(most, MOST_PADDING * (real + near[1])) or pace.of_cost(padded) > BATCH_SECONDS:
                break
            real += near[1]
            low, high = (low - 1, high) if down else (low, high + 1)
        batch = [row[3] for row in queue[low:high]]
        del queue[low:high]
        alive = [piece for piece in batch if not piece.work.done.done()]
        for piece in batch:
            piece.taken = True
        child(DROPPED, self.name).inc(len(batch) - len(alive))
        return alive

    def _encode(self, batch: list[_Piece]) -> None:
        samples = [piece.sample for piece in batch if piece.sample is not None]
        started = time.perf_counter()
        try:
            outputs = self.model.encode(samples, batch[0].key)
        except Exception as error:  # of a runtime: the answer of its requests, and not the end of the thread
            child(FAILED, self.name).inc()
            if len(batch) > 1:  # one of them may be the reason: the others shall not suffer for it
                for piece in batch:
                    self._encode([piece])
            else:
                self._tell([batch[0].work], error)
            return
        spent = time.perf_counter() - started
        self.recent[batch[0].key].extend(outputs["out_embedding"])
        longest, real = max(piece.cost for piece in batch), sum(piece.cost for piece in batch)
        self._paces[batch[0].key].add(spent, real, len(batch))
        for row, piece in enumerate(batch):
            piece.work.put(piece.at, outputs, row, piece.of)
            piece.work.waited, piece.work.company = started - piece.work.since, len(batch)
            child(WAIT, self.name).observe(piece.work.waited)
        child(ENCODE, self.name).observe(spent)
        child(FILL, self.name).observe(len(batch))
        child(REAL, self.name).inc(real)
        child(PADDED, self.name).inc(longest * len(batch))
        self._tell([piece.work for piece in batch if not piece.work.missing])

    def _call(self, piece: _Piece) -> None:
        started = time.perf_counter()
        assert piece.function is not None
        piece.work.waited = started - piece.work.since
        try:
            piece.work.rows = piece.function()
        except Exception as error:  # the caller's, and not the end of the thread
            self._tell([piece.work], error)
            return
        self._paces[piece.key].add(time.perf_counter() - started, 1, 1)
        self._tell([piece.work])

    @staticmethod
    def _tell(finished: list[_Work], error: Exception | None = None) -> None:
        """Bring results to their requests, in one step of the event loop."""

        def tell() -> None:
            for work in finished:
                if work.done.done():
                    continue
                if error is not None:
                    work.done.set_exception(error)
                else:
                    work.done.set_result(work.rows)

        if finished:
            try:
                finished[0].done.get_loop().call_soon_threadsafe(tell)
            except RuntimeError:  # the server has ended
                return
