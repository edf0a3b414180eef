"""Which items make a batch, and what a method makes of each: pure functions of seed, step, epoch and item."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Dataset, Sampler

from enfold.modalities import Arrays
from training.methods import Item, Method


class Examples(Dataset[Arrays]):
    """(epoch, index) -> what the method makes of that item then."""

    def __init__(self, method: Method, items: Sequence[Item], seed: int):
        self._method, self._items, self._seed = method, items, seed

    def __getitem__(self, which: tuple[int, int]) -> Arrays:
        epoch, index = which
        return self._method.example(self._items[index], np.random.default_rng([self._seed, epoch, index]))


class Batches(Sampler[list[tuple[int, int]]]):
    """Endless batches of (epoch, index), from step `start` on: every epoch in another order, its rest left out."""

    def __init__(self, count: int, batch: int, seed: int, start: int):
        self._count, self._batch, self._seed, self._start = count, batch, seed, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch, step = self._count // self._batch, self._start
        while True:
            epoch, place = divmod(step, per_epoch)
            order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
            yield [(epoch, int(i)) for i in order[place * self._batch : (place + 1) * self._batch]]
            step += 1
