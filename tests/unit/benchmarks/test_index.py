"""The benchmark of the index asks what it says that it asks."""

import sys

import numpy as np
import pytest

from benchmarks import index
from serving.index.collection import EdgeCollection


def test_jitter_keeps_a_vector_near_its_original_and_makes_no_two_alike():
    base = np.eye(8, 256, dtype=np.float32)
    grown = index._grown(base, 20)
    assert grown.shape == (20, 256)
    np.testing.assert_allclose(np.linalg.norm(grown, axis=1), 1, atol=1e-6)
    cosines = (grown * base[np.arange(20) % 8]).sum(1)
    assert cosines == pytest.approx(np.full(20, 1 / np.hypot(1, index.JITTER)), abs=0.03)
    assert (grown @ grown.T - np.eye(20)).max() < 1 - 1e-3


def test_an_exact_search_finds_the_true_nearest(tmp_path):
    vectors = index._grown(np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32), 300)
    np.save(tmp_path / "queries.npy", vectors[:5])
    np.save(tmp_path / "truth.npy", index._truth(vectors, vectors[:5]))
    EdgeCollection.create(tmp_path / "plain", index._facts(16))
    index._fill(tmp_path / "plain" / "shard-1", vectors)
    program = [sys.executable, index._PROGRAMS / "nearest.py", "exact", tmp_path, tmp_path / "plain"]
    found = index._asked(tmp_path / "plain", program)
    assert found["recall@10"] == 1
    assert 0 < found["p50 ms"] <= found["p99 ms"]
    assert found["disk MiB"] > 0
