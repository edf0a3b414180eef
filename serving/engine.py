"""The path of a request to the runtime: let in, prepared in a bounded pool, run in the batches of its model's queue."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from prometheus_client import Counter, Histogram
from pydantic import BaseModel

from enfold.errors import BadItem, Busy
from enfold.modalities import Arrays, Part, Sample
from enfold.model import Model
from enfold.tasks import Prepared
from serving import tracing
from serving.batcher import Batcher
from serving.call import CALL
from serving.health import Rows
from serving.metrics import child

ITEMS = Counter("enfold_items", "Items embedded or predicted", ["model"])
BAD_ITEMS = Counter("enfold_bad_items", "Items that could not be read", ["model"])
PIECES = Counter("enfold_pieces", "Pieces of streamed answers", ["model"])
PREPARE = Histogram("enfold_prepare_seconds", "Decoding and preparing the items of one request", ["model"])

Bad = dict[int, BadItem]  # by the item's index in the request


@dataclass(frozen=True)
class Encoded:
    """Encoder outputs of N samples, each with the index of its item and its part; and the items without any."""

    outputs: Arrays
    owners: list[int]
    parts: list[Part | None]
    bad: Bad
    tokens: list[np.ndarray] | None  # [T, W] of each sample, where they were asked for
    cost: int  # of all samples, in the modality's unit: tokens of a text


class Engine:
    def __init__(self, threads: int, patience_seconds: float):
        self._threads, self._patience = threads, patience_seconds
        self._pool = ThreadPoolExecutor(threads, "decode")
        self._batchers: dict[Model, Batcher] = {}

    def check(self) -> None:
        """Raises Busy if every model in use would refuse a request that comes now: before its body is read."""
        refusal = None
        for batcher in self._batchers.values():
            try:
                batcher.check(CALL.get())
                return
            except Busy as busy:
                refusal = busy
        if refusal is not None:
            raise refusal

    async def encode(
        self,
        model: Model,
        entry: str,
        items: Sequence[Any],
        *,
        parts: bool = False,
        strict: bool = True,
        tokens: bool = False,
    ) -> Encoded:
        """Encoder outputs of items: `enfold.wire`'s, or what the modality reads.

        Raises Busy when too much is waiting, and BadItem for the first item that cannot be read; not `strict`, only if
        none can. With `tokens`, WrongUse for an entry that gives none.
        """
        batcher, of_tokens = self.batcher(model), None
        with batcher.admitted(entry, len(items)) as ticket:
            prepared, bad = await self._prepare(model, entry, items, parts, strict)
            samples = [sample for group in prepared for sample in group]
            if tokens:
                encode = partial(model.encode_tokens, samples, entry)
                outputs, of_tokens = await batcher.call(f"{entry} tokens", encode)
            else:
                outputs = await batcher.encode(samples, entry, ticket)
        child(ITEMS, model.bundle.ref).inc(len(items) - len(bad))
        owners = [index for index, group in enumerate(prepared) for _ in group]
        cost = sum(map(model.modalities[entry].cost, samples))
        return Encoded(outputs, owners, [sample.part for sample in samples], bad, of_tokens, cost)

    async def predict(
        self, model: Model, entry: str, items: Sequence[Any], task: str, options: Any, *, strict: bool = True
    ) -> tuple[list[BaseModel | None], Bad]:
        """Answers of a task, one per item; None for one that cannot be read, where not `strict`. Raises as `encode`."""
        batcher, runner = self.batcher(model), model.task(task)
        with batcher.admitted(entry if runner.encodes else task, len(items)) as ticket:
            groups, bad = await self._prepare(model, entry, items, runner.parts(options), strict)
            kept = [group for group in groups if group]
            if runner.encodes:
                flat = [sample for group in kept for sample in group]
                encoded, beside = await batcher.encode(flat, entry, ticket), {}
                if runner.entry is not None:
                    others, _ = await self._prepare(model, runner.entry, runner.beside(options), False, True)
                    flat = [sample for group in others for sample in group]
                    beside = await batcher.encode(flat, runner.entry, ticket)
                prepared = Prepared(kept, encoded, beside)
                found = await asyncio.to_thread(model.answer, prepared, task, options)
            else:
                found = await batcher.call(task, lambda: model.answer(Prepared(kept, {}), task, options))
        child(ITEMS, model.bundle.ref).inc(len(kept))
        answers = iter(found)
        return [None if index in bad else next(answers) for index in range(len(items))], bad

    async def stream(self, model: Model, entry: str, item: Any, task: str, options: Any) -> AsyncIterator[BaseModel]:
        """The answer of one item piece by piece. Whoever stops reading stops the work."""
        batcher, runner = self.batcher(model), model.task(task)
        with batcher.admitted(f"{task} piece", 1) as ticket:
            samples, _ = await self._prepare(model, entry, [item], runner.parts(options), True)
            encoded = await batcher.encode(samples[0], entry, ticket) if runner.encodes else {}
            pieces = model.stream(Prepared(samples, encoded), task, options)
            # Piece by piece, so that streams take turns.
            while (piece := await batcher.call(f"{task} piece", lambda: next(pieces, None))) is not None:
                child(PIECES, model.bundle.ref).inc()
                yield piece
        child(ITEMS, model.bundle.ref).inc()

    def batcher(self, model: Model) -> Batcher:
        """The queue of a model."""
        if model not in self._batchers:
            self._batchers[model] = Batcher(model, self._patience)
        return self._batchers[model]

    def batchers(self) -> list[Batcher]:
        """The queues in use."""
        return list(self._batchers.values())

    def recent(self) -> list[tuple[Model, str, Rows]]:
        """The models in use, each with an entry and the last rows that it gave."""
        batchers = list(self._batchers.items())
        return [(model, entry, rows) for model, own in batchers for entry, rows in list(own.recent.items())]

    def forget(self, model: Model) -> None:
        """Close the queue of a model that is served no more."""
        if batcher := self._batchers.pop(model, None):
            batcher.close()

    async def run(self, function: Any, *arguments: Any) -> Any:
        """Call it on a decoding thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for batcher in self._batchers.values():
            batcher.close()

    async def _prepare(
        self, model: Model, entry: str, items: Sequence[Any], parts: bool, strict: bool
    ) -> tuple[list[list[Sample]], Bad]:
        """The samples of every item, none for a bad one."""
        with tracing.span("prepare", items=len(items)), child(PREPARE, model.bundle.ref).time():
            if sum(map(_size, items)) <= model.modalities[entry].light_bytes:
                found = _read(model, entry, items, parts)
            else:  # in as many slices as there are threads
                size = math.ceil(len(items) / self._threads)
                slices = [items[at : at + size] for at in range(0, len(items), size)]
                work = [self.run(_read, model, entry, own, parts) for own in slices]
                found = [one for done in await asyncio.gather(*work) for one in done]
        bad = {index: one for index, one in enumerate(found) if isinstance(one, BadItem)}
        if bad:
            child(BAD_ITEMS, model.bundle.ref).inc(len(bad))
            if strict or len(bad) == len(items):
                index, error = next(iter(bad.items()))
                raise type(error)(f"item {index}: {error}") from None
        return [[] if isinstance(one, BadItem) else one for one in found], bad


def _size(item: Any) -> int:
    """Bytes or characters of an item, roughly."""
    value = next(iter(item.__dict__.values())) if isinstance(item, BaseModel) else item
    return len(value) if isinstance(value, str | bytes) else 2**30


def _read(model: Model, entry: str, items: Sequence[Any], parts: bool) -> list[list[Sample] | BadItem]:
    modality = model.modalities[entry]
    found: list[list[Sample] | BadItem] = []
    for item in items:
        try:
            raw = modality.from_json(item) if isinstance(item, BaseModel) else item
            found.append(model.prepare(raw, entry, parts=parts))
        except BadItem as error:
            found.append(error)
    return found
