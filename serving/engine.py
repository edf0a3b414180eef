"""The path of a request to the runtime: decode in threads, then one encoder pass over whatever waits together.

Its queue only refuses and merges; serving/batcher.py (cost, deadlines, overload) takes its place.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Histogram
from pydantic import BaseModel

from enfold.errors import BadItem, Busy
from enfold.modalities import Arrays, Part, Sample
from enfold.model import Model
from enfold.tasks import Prepared

QUEUED_ITEMS = 512  # admitted and not yet answered, per model
MERGED_SAMPLES = 32

ITEMS = Counter("enfold_items", "Items embedded or predicted", ["model"])
ENCODE_SECONDS = Histogram("enfold_encode_seconds", "One encoder pass", ["model"])
PIECES = Counter("enfold_pieces", "Pieces of streamed answers", ["model"])
QUEUE_SECONDS = Histogram("enfold_queue_seconds", "From decoded to the start of encoding", ["model"])


@dataclass(frozen=True)
class Encoded:
    """Encoder outputs of N samples, each with the index of its item and its part."""

    outputs: Arrays
    owners: list[int]
    parts: list[Part | None]


class Engine:
    def __init__(self, threads: int):
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "decode")
        self._queues: dict[Model, _Queue] = {}

    async def encode(self, model: Model, entry: str, items: Sequence[Any], *, parts: bool = False) -> Encoded:
        """Encoder outputs of `enfold.wire` items. Raises Busy when too much is waiting."""
        queue = self._queues.setdefault(model, _Queue(model))
        with queue.admitted(len(items)):
            prepared = await self._prepare(model, entry, items, parts)
            samples = [sample for group in prepared for sample in group]
            outputs = await queue.encode(samples, entry)
        ITEMS.labels(model.bundle.ref).inc(len(items))
        owners = [index for index, group in enumerate(prepared) for _ in group]
        return Encoded(outputs, owners, [sample.part for sample in samples])

    async def predict(self, model: Model, entry: str, items: Sequence[Any], task: str, options: Any) -> list[BaseModel]:
        """Answers of a task, one per `enfold.wire` item. Raises Busy when too much is waiting."""
        queue, runner = self._queues.setdefault(model, _Queue(model)), model.task(task)
        with queue.admitted(len(items)):
            samples = await self._prepare(model, entry, items, runner.parts(options))
            flat = [sample for group in samples for sample in group]
            prepared = Prepared(samples, await queue.encode(flat, entry) if runner.encodes else {})
            async with queue.turn if not runner.encodes else nullcontext():
                answers = await asyncio.to_thread(model.answer, prepared, task, options)
        ITEMS.labels(model.bundle.ref).inc(len(items))
        return answers

    async def stream(self, model: Model, entry: str, item: Any, task: str, options: Any) -> AsyncIterator[BaseModel]:
        """The answer of one item piece by piece. Whoever stops reading stops the work."""
        queue, runner = self._queues.setdefault(model, _Queue(model)), model.task(task)
        with queue.admitted(1):
            samples = await self._prepare(model, entry, [item], runner.parts(options))
            prepared = Prepared(samples, await queue.encode(samples[0], entry) if runner.encodes else {})
            pieces = model.stream(prepared, task, options)
            while True:
                async with queue.turn:  # piece by piece, so that streams take turns
                    step = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
                    piece = await asyncio.shield(step)
                if piece is None:
                    break
                PIECES.labels(model.bundle.ref).inc()
                yield piece
        ITEMS.labels(model.bundle.ref).inc()

    async def run(self, function: Any, *arguments: Any) -> Any:
        """Call it on a decoding thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    async def _prepare(self, model: Model, entry: str, items: Sequence[Any], parts: bool) -> list[list[Sample]]:
        """In as many slices as there are threads."""
        size = math.ceil(len(items) / self._threads)
        slices = [range(at, min(at + size, len(items))) for at in range(0, len(items), size)]
        work = [self.run(_prepare, model, entry, items, which, parts) for which in slices]
        return [group for done in await asyncio.gather(*work) for group in done]


@dataclass
class _Waiting:
    samples: list[Sample]
    entry: str
    outputs: "asyncio.Future[Arrays]"
    since: float = field(default_factory=time.perf_counter)


class _Queue:
    """What waits for one model, and the task that empties it."""

    def __init__(self, model: Model):
        self._model = model
        self._waiting: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        self.turn = asyncio.Lock()  # one pass of the model's graphs at a time: it uses every thread there is
        self._items = 0
        self._rate = 100.0  # samples per second, measured as it goes

    @contextmanager
    def admitted(self, items: int) -> Iterator[None]:
        if self._items + items > QUEUED_ITEMS:
            busy = Busy(f"{self._items} items are waiting for {self._model.bundle.ref}: ask again later")
            busy.retry_after_seconds = max(1, math.ceil(self._items / self._rate))
            raise busy
        self._items += items
        try:
            yield
        finally:
            self._items -= items

    async def encode(self, samples: list[Sample], entry: str) -> Arrays:
        work = _Waiting(samples, entry, asyncio.get_running_loop().create_future())
        self._waiting.append(work)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await work.outputs

    async def _work(self) -> None:
        while self._waiting:
            merged = self._merge()
            try:
                async with self.turn:
                    outputs = await asyncio.to_thread(self._encode, merged)
            except Exception as error:  # the answer of these requests, and not the end of the worker
                for work in merged:
                    if not work.outputs.done():
                        work.outputs.set_exception(error)
                continue
            at = 0
            for work in merged:
                rows = slice(at, at := at + len(work.samples))
                if not work.outputs.done():
                    work.outputs.set_result({name: values[rows] for name, values in outputs.items()})

    def _merge(self) -> list[_Waiting]:
        """The oldest, and those of its entry right behind it that fill a batch."""
        merged = [self._waiting.popleft()]
        size = len(merged[0].samples)
        while self._waiting and self._waiting[0].entry == merged[0].entry:
            size += len(self._waiting[0].samples)
            if size > MERGED_SAMPLES:
                break
            merged.append(self._waiting.popleft())
        return merged

    def _encode(self, merged: list[_Waiting]) -> Arrays:
        name, started = self._model.bundle.ref, time.perf_counter()
        for work in merged:
            QUEUE_SECONDS.labels(name).observe(started - work.since)
        samples = [sample for work in merged for sample in work.samples]
        outputs = self._model.encode(samples, merged[0].entry)
        spent = time.perf_counter() - started
        ENCODE_SECONDS.labels(name).observe(spent)
        self._rate += 0.1 * (len(samples) / spent - self._rate)
        return outputs


def _prepare(model: Model, entry: str, items: Sequence[Any], which: range, parts: bool) -> list[list[Sample]]:
    modality = model.modalities[entry]
    prepared = []
    for index in which:
        try:
            prepared.append(model.prepare(modality.from_json(items[index]), entry, parts=parts))
        except BadItem as error:
            raise type(error)(f"item {index}: {error}") from None
    return prepared
