"""Vectors of 8 bits are taken where they lose little, and left where they would not."""

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from serving.index import Points, quantised, server
from serving.index.server import ServerIndex
from tests.unit.serving.conftest import new_collection, uuid


def units(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


NOISE = units(np.random.default_rng(0).normal(size=(600, 32)))
# One number is all but the whole length, and who is near to whom is told by what falls into one step.
NARROW = units(np.concatenate([np.full((600, 1), 100.0), 0.01 * np.random.default_rng(0).normal(size=(600, 31))], 1))


def test_what_is_spread_loses_little_and_what_is_narrow_much():
    assert quantised.recall(NOISE) >= 0.99
    assert quantised.recall(NARROW) < 0.9


@pytest.mark.parametrize("vectors", [np.eye(2, dtype=np.float32), np.ones((30, 4), np.float32) / 2])
def test_of_few_and_of_equal_vectors_nothing_is_lost(vectors):
    assert quantised.recall(vectors) == 1


def test_steps_are_at_most_255_and_their_middles_near():
    steps = quantised._steps(NOISE)
    assert len(np.unique(steps)) <= 255
    low, high = np.quantile(NOISE, [0.005, 0.995])
    inside = (low <= NOISE) & (high >= NOISE)
    assert np.abs(steps - NOISE)[inside].max() <= (high - low) / 254


@pytest.mark.parametrize(("vectors", "taken"), [(NOISE, True), (NARROW, False)])
def test_a_server_is_told_to_where_the_gate_lets_it(vectors, taken, monkeypatch):
    """The local mode keeps no such setting: what it is told is looked at."""
    client, told = QdrantClient(":memory:"), []
    kept = ServerIndex(client).create(new_collection(dimensions=32))
    kept.upsert(Points([uuid(i) for i in range(600)], vectors, [{}] * 600, "sp_a"))
    monkeypatch.setattr(client, "update_collection", lambda place, **changed: told.append((place, changed)))
    kept.optimize()
    assert not told, "so few are compared one by one"
    monkeypatch.setattr(server, "FEW", 100)
    kept.optimize()
    assert [place for place, _ in told] == (["things@1"] if taken else [])
    if taken:
        asked = told[0][1]["quantization_config"]
        assert isinstance(asked, models.ScalarQuantization)
        assert asked.scalar.type == models.ScalarType.INT8


def test_a_collection_of_a_server_is_made_with_limits(monkeypatch):
    client, told = QdrantClient(":memory:"), {}
    create = client.create_collection
    monkeypatch.setattr(
        client, "create_collection", lambda *words, **settings: told.update(settings) or create(*words, **settings)
    )
    ServerIndex(client).create(new_collection())
    assert told["strict_mode_config"].enabled
    assert told["strict_mode_config"].upsert_max_batchsize == server.PAGE
    assert told["hnsw_config"].ef_construct == 128
