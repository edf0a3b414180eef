"""Finding across modalities: an item's counterpart bears its id."""

import numpy as np
import pytest

from training.evaluation.across import own_among_nearest

RNG = np.random.default_rng(0)


def test_whoever_lies_by_its_counterpart_finds_it():
    vectors, ids = RNG.normal(size=(40, 8)), [str(i) for i in range(40)]
    shuffled = RNG.permutation(40)
    assert own_among_nearest(ids, vectors, [ids[i] for i in shuffled], 3 * vectors[shuffled]) == 1


def test_whoever_lies_anywhere_finds_it_by_chance():
    ids = [str(i) for i in range(400)]
    found = own_among_nearest(ids, RNG.normal(size=(400, 16)), ids, RNG.normal(size=(400, 16)))
    assert found == pytest.approx(10 / 400, abs=0.02)


def test_an_item_without_a_counterpart_finds_none():
    assert own_among_nearest(["a"], RNG.normal(size=(1, 4)), ["b", "c"], RNG.normal(size=(2, 4))) == 0
