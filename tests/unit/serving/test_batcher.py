"""The queue of one model: batches of similar cost, one rule of refusal, fairness, dropped work, errors kept apart."""

import asyncio
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from enfold.errors import Busy
from enfold.modalities import Sample
from serving.batcher import BATCH_ITEMS, MOST_PADDING, Batcher
from serving.call import CALL, Call


class Slow:
    """A model whose batches are noted, and take as long as their padded cost says."""

    def __init__(self, seconds_a_unit=0.0):
        self.bundle = SimpleNamespace(ref="slow@1")
        cost = lambda sample: len(sample.arrays["ids"])  # noqa: E731
        self.modalities = {"text": SimpleNamespace(cost=cost, batch_cost=1000)}
        self.seconds, self.batches = seconds_a_unit, []

    def encode(self, samples, entry):
        lengths = [len(sample.arrays["ids"]) for sample in samples]
        self.batches.append(lengths)
        if 13 in lengths:
            raise ValueError("the runtime cannot take 13")
        time.sleep(self.seconds * max(lengths, default=0) * len(lengths))
        return {"out_embedding": np.array([[length, 0.0] for length in lengths], np.float32)}


def sample(length):
    return Sample({"ids": np.zeros(length)})


async def ask(batcher, lengths, caller="a", deadline=float("inf")):
    CALL.set(Call("", caller, deadline))
    with batcher.admitted("text", len(lengths)) as ticket:
        found = await batcher.encode([sample(length) for length in lengths], "text", ticket)
    return found["out_embedding"][:, 0].tolist()


def crowd(model, requests, patience=60.0):
    """Answers (or errors) of requests that all come while the model is still busy with something else."""

    async def run():
        batcher, gate = Batcher(model, patience), threading.Event()
        first = asyncio.create_task(batcher.call("gate", gate.wait))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(ask(batcher, *request)) for request in requests]
        await asyncio.sleep(0.01)
        gate.set()
        await first
        found = await asyncio.gather(*others, return_exceptions=True)
        batcher.close()
        return found

    return asyncio.run(run())


def test_a_lone_request_waits_for_nobody():
    model = Slow()
    assert asyncio.run(ask(Batcher(model, 1.0), [5])) == [5]
    assert model.batches == [[5]]


def test_small_lists_merge_and_large_ones_are_split():
    model = Slow()
    found = crowd(model, [([4],)] * 5 + [([4] * 40,)])
    assert found == [[4.0]] * 5 + [[4.0] * 40]
    assert [len(batch) for batch in model.batches] == [BATCH_ITEMS, BATCH_ITEMS, 45 - 2 * BATCH_ITEMS]


def test_rows_come_back_in_the_order_of_their_request_whatever_batch_they_were_in():
    lengths = np.random.default_rng(0).integers(14, 200, 100).tolist()
    assert crowd(Slow(), [(lengths,)]) == [lengths]


def test_batches_are_of_similar_length():
    model = Slow()
    lengths = np.exp(np.random.default_rng(1).normal(3.5, 0.8, 300)).astype(int).clip(14, 256)
    crowd(model, [([int(length)],) for length in lengths])
    padded = sum(max(batch) * len(batch) for batch in model.batches)
    real = sum(map(sum, model.batches))
    as_they_came = sum(max(batch) * len(batch) for batch in np.array_split(lengths, 300 // BATCH_ITEMS))
    assert padded / real < 1.2
    assert as_they_came / real > 1.8
    assert all(max(batch) * len(batch) <= MOST_PADDING * sum(batch) for batch in model.batches)
    assert all(max(batch) * len(batch) <= 1000 for batch in model.batches)
    assert len(model.batches) < 2 * len(lengths) / BATCH_ITEMS


def test_a_caller_with_much_does_not_make_others_wait_for_all_of_it():
    """The flood came first; whoever asks for one item is answered long before its end."""
    model = Slow(0.0001)
    order = []

    async def run():
        batcher = Batcher(model, 60.0)
        await ask(batcher, [10])

        async def noted(name, lengths):
            await ask(batcher, lengths, name)
            order.append(name)

        flood = [asyncio.create_task(noted("flood", [100] * 16)) for _ in range(8)]
        await asyncio.sleep(0)
        await asyncio.gather(noted("small", [101]), *flood)

    asyncio.run(run())
    assert order.index("small") <= 2


@pytest.mark.parametrize("items", [1, 64])
def test_past_the_bound_one_item_and_a_list_are_refused_alike(items):
    async def run():
        model = Slow(0.001)
        batcher = Batcher(model, patience_seconds=0.2)
        await ask(batcher, [10])  # 10 ms: the pace is known
        first = asyncio.create_task(ask(batcher, [10] * 50))  # half a second
        await asyncio.sleep(0.01)
        with pytest.raises(Busy, match=r"0\.\d s of work for slow@1") as refused:
            await ask(batcher, [10] * items)
        assert refused.value.retry_after_seconds == 1
        assert await ask(batcher, [10] * items, "another")  # holds nothing yet: an even share is kept for it
        await first
        assert await ask(batcher, [10])

    asyncio.run(run())


def test_work_that_would_come_too_late_is_refused_at_once():
    async def run():
        batcher = Batcher(Slow(0.001), patience_seconds=10)
        await ask(batcher, [10])
        first = asyncio.create_task(ask(batcher, [10] * 50))
        await asyncio.sleep(0.01)
        with pytest.raises(Busy, match="after the caller's deadline"):
            await ask(batcher, [10], deadline=time.monotonic() + 0.1)
        await first

    asyncio.run(run())


def test_work_of_callers_who_left_never_runs():
    model = Slow()

    async def run():
        batcher, gate = Batcher(model, 60.0), threading.Event()
        first = asyncio.create_task(batcher.call("gate", gate.wait))
        await asyncio.sleep(0.01)
        leaving = [asyncio.create_task(ask(batcher, [50 + i])) for i in range(8)]
        staying = asyncio.create_task(ask(batcher, [99]))
        await asyncio.sleep(0.01)
        for task in leaving:
            task.cancel()
        await asyncio.sleep(0.01)
        gate.set()
        assert await staying == [99]
        await first
        assert batcher.backlog == 0

    asyncio.run(run())
    assert model.batches == [[99]]


def test_an_item_that_the_runtime_fails_on_fails_alone():
    found = crowd(Slow(), [([12],), ([13],), ([14],)])
    assert (found[0], found[2]) == ([12], [14])
    assert isinstance(found[1], ValueError)


def test_calls_take_their_turn_with_batches_and_errors_reach_the_caller():
    async def run():
        batcher, seen = Batcher(Slow(), 1.0), []
        await asyncio.gather(*(batcher.call("step", lambda i=i: seen.append(i)) for i in range(5)))
        with pytest.raises(ZeroDivisionError):
            await batcher.call("step", lambda: 1 / 0)
        assert await batcher.call("step", lambda: 7) == 7
        return seen

    assert asyncio.run(run()) == list(range(5))
