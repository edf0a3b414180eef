"""Which items make a batch, and what a method makes of each: pure functions of seed, step, epoch and item."""

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
from torch.utils.data import Dataset, Sampler

from enfold.errors import WrongUse
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


class Alternating(Sampler[list[tuple[int, int]]]):
    """Endless batches of (epoch, index), from step `start` on: of one kind each, kinds in turn, each in its own epochs.

    So a kind alone gives the batches that it gives among others, only closer together.

    kinds   of the items, one for each
    turns   kinds whose batches follow each other; items of others are in none
    """

    def __init__(self, kinds: Sequence[str], batch: int, seed: int, start: int, *, turns: Sequence[str]):
        self._members = [[index for index, kind in enumerate(kinds) if kind == turn] for turn in turns]
        for turn, members in zip(turns, self._members, strict=True):
            if len(members) < batch:
                raise WrongUse(f"train.batch is {batch}, but there are only {len(members)} {turn} items to train on")
        self._batch, self._seed, self._start = batch, seed, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        turns = len(self._members)
        each = [
            iter(Batches(len(members), self._batch, self._seed, (self._start + turns - 1 - turn) // turns))
            for turn, members in enumerate(self._members)
        ]
        for step in count(self._start):
            members = self._members[step % turns]
            yield [(epoch, members[place]) for epoch, place in next(each[step % turns])]


class Balanced(Sampler[list[tuple[int, int]]]):
    """Endless batches of (step, index), from step `start` on: so many classes, as many items of each, class by class.

    Items without a label are in none. A class with too few items gives some of them twice.
    """

    def __init__(self, items: Sequence[Item], batch: int, seed: int, start: int, *, classes: int):
        # A run's items know their labels; of others each is decoded once.
        labels = np.array(getattr(items, "labels", None) or [item.label for item in items])
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels[labels >= 0])]
        if batch % classes or len(self._members) < classes:
            raise WrongUse(
                f"batches hold {classes} classes in equal parts: train.batch is {batch}, and the training items have "
                f"{len(self._members)} classes; choose config.classes to fit both"
            )
        self._classes, self._each, self._seed, self._start = classes, batch // classes, seed, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in count(self._start):
            rng = np.random.default_rng([self._seed, step])
            chosen = rng.permutation(len(self._members))[: self._classes]
            yield [
                (step, int(i))
                for members in (self._members[label] for label in chosen)
                for i in rng.choice(members, self._each, replace=len(members) < self._each)
            ]


class Drawn(Sampler[list[tuple[int, int]]]):
    """Endless batches of (number of the draw, index), from step `start` on: each item as likely as its weight.

    So there may be fewer items than a batch has places: methods that make another example of an item each time.
    """

    def __init__(self, weights: np.ndarray, batch: int, seed: int, start: int):
        self._shares, self._batch, self._seed, self._start = weights / weights.sum(), batch, seed, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in count(self._start):
            drawn = np.random.default_rng([self._seed, step]).choice(len(self._shares), self._batch, p=self._shares)
            yield [(step * self._batch + place, int(index)) for place, index in enumerate(drawn)]
