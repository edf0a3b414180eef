"""What makes it SimCore and no other: the card's invariants."""

from itertools import pairwise

import numpy as np
import pytest

from enfold.errors import WrongUse
from enfold.model import unit
from training.selection import simcore, uniform
from training.selection.simcore import SimCoreConfig, centroids_of

TARGET = np.random.default_rng(1).normal([4, 0, 0, 0], 1, (80, 4))
NEAR = np.random.default_rng(2).normal([4, 0, 0, 0], 1, (60, 4))
FAR = np.random.default_rng(3).normal([-1, 3, 0, 0], 1, (240, 4))
POOL = np.concatenate([NEAR, FAR])  # a fifth lies where the target does


def chosen(pool: np.ndarray = POOL, *, budget: int | None = None, **config) -> simcore.Selection:
    facts = SimCoreConfig(**{"centroids": 8, "patience": 3} | config)
    return simcore.select(facts, TARGET, pool, budget=budget, rng=np.random.default_rng(0))


def test_no_item_is_taken_twice():
    found = chosen(drop=0.01)
    assert len(np.unique(found.chosen)) == len(found.chosen)


def test_a_round_takes_between_one_and_as_many_as_there_are_centroids():
    sizes = [len(chosen(budget=None, drop=1e-9, most=many / 80).chosen) for many in range(8, 200, 8)]
    found = chosen(drop=1e-9, most=100.0)
    assert found.rounds <= len(found.chosen) <= 8 * found.rounds
    assert sizes == sorted(sizes)


def test_the_order_of_the_pool_does_not_count():
    order = np.random.default_rng(7).permutation(len(POOL))
    assert set(order[chosen(POOL[order]).chosen]) == set(chosen().chosen)


def test_the_order_of_the_centroids_does_not_count(monkeypatch: pytest.MonkeyPatch):
    plain = set(chosen().chosen)
    monkeypatch.setattr(simcore, "centroids_of", lambda *given: centroids_of(*given)[::-1])
    assert set(chosen().chosen) == plain


def test_the_similarity_never_rises_from_round_to_round():
    trace = chosen(drop=1e-9).trace
    assert len(trace) > 5
    assert all(a >= b - 1e-12 for a, b in pairwise(trace))


def test_it_stops_where_the_similarity_falls_below_the_threshold_and_discards_that_round():
    found = chosen()
    assert found.rounds == len(found.trace) - 1
    assert found.trace[-1] < 0.95 * found.trace[2]
    assert found.trace[-2] >= 0.95 * found.trace[2]


def test_lengths_of_embeddings_do_not_count():
    stretched = POOL * np.random.default_rng(0).uniform(0.1, 9, (len(POOL), 1))
    assert set(chosen(stretched).chosen) == set(chosen().chosen)


def test_what_lies_where_the_target_does_is_found():
    """Precision on the planted part at least twice its share of the pool."""
    assert (chosen().chosen < len(NEAR)).mean() >= 2 * len(NEAR) / len(POOL)


def test_a_budget_is_kept_to_the_item():
    assert len(chosen(budget=13, drop=1e-9).chosen) == 13
    assert len(chosen(most=0.25, drop=1e-9).chosen) == 20


def test_everything_is_taken_once_and_then_it_ends():
    assert sorted(chosen(patience=1000, most=100.0).chosen) == list(range(len(POOL)))


def test_few_target_items_are_their_own_centroids():
    np.testing.assert_allclose(centroids_of(TARGET[:5], 30, np.random.default_rng(0)), unit(TARGET[:5]))
    lengths = np.linalg.norm(centroids_of(TARGET, 8, np.random.default_rng(0)), axis=1)
    np.testing.assert_allclose(lengths, 1)


def test_the_baseline_takes_as_many_as_it_is_told():
    found = uniform.select(uniform.UniformConfig(), TARGET, POOL, budget=30, rng=np.random.default_rng(0))
    assert len(np.unique(found.chosen)) == 30
    with pytest.raises(WrongUse, match=r"selection 'uniform' needs a budget"):
        uniform.select(uniform.UniformConfig(), TARGET, POOL, budget=None, rng=np.random.default_rng(0))
