"""Figures of the gate on cases small enough to solve by hand."""

import numpy as np
import pytest

from export.parity import batches
from export.survey import recall_at_10


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_vectors_find_their_own_neighbours():
    vectors = unit(np.random.default_rng(0).normal(size=(600, 8)))  # more than one block
    assert recall_at_10(vectors, vectors) == 1


def test_unrelated_vectors_find_neighbours_by_chance():
    rng = np.random.default_rng(0)
    recall = recall_at_10(unit(rng.normal(size=(500, 8))), unit(rng.normal(size=(500, 8))))
    assert recall == pytest.approx(10 / 499, abs=0.01)


def test_ties_are_hits():
    """Fifty copies of each of two vectors: any ten of the copies are right."""
    exact = np.repeat(np.eye(2, 8, dtype=np.float32), 50, axis=0)
    moved = unit(exact + np.random.default_rng(0).normal(scale=1e-3, size=exact.shape))
    assert recall_at_10(moved, exact) == 1


def test_a_lost_neighbour_costs_its_share():
    """Of twelve items each has eleven others: whoever is taken for the furthest costs one hit in ten, or none."""
    exact = unit(np.random.default_rng(1).normal(size=(12, 4)))
    other = unit(np.random.default_rng(2).normal(size=(12, 4)))
    furthest = [np.argsort(vectors @ vectors.T, axis=1)[:, 0] for vectors in (exact, other)]
    missed = np.mean(furthest[0] != furthest[1]) / 10
    assert missed > 0
    assert recall_at_10(other, exact) == pytest.approx(1 - missed)


@pytest.mark.parametrize(("count", "size"), [(64, 1), (64, 7), (64, 32), (11, 32), (40, 7)])
def test_batches_are_full_and_hold_every_item(count, size):
    made = batches(count, size)
    assert {len(batch) for batch in made} == {size}
    assert {i for batch in made for i in batch} == set(range(count))
    assert made[-1] == sorted(made[-1])
    if count >= 2 * size > 2:
        assert made[0] == list(range(size))
        assert made[-1][-1] - made[-1][0] >= count - 2 * count / size
