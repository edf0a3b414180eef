"""Figures of the vectors that a server gave lately."""

import json
import math
import re

import numpy as np
import pytest

from serving.health import ROWS, Health, figures

RNG = np.random.default_rng(0)


def test_rows_that_are_not_finite_are_counted_and_left_out():
    rows = np.eye(4, dtype=np.float32) * 3
    rows[1, 0], rows[2, 3] = np.nan, np.inf
    assert figures(rows) == (4, pytest.approx(3), pytest.approx(2, rel=1e-4), 0.5)
    count, norm, rank, share = figures(np.full((2, 4), np.nan))
    assert (count, share) == (2, 1)
    assert math.isnan(norm)
    assert math.isnan(rank)


def test_nothing_is_computed_again_while_no_vector_came(text_bundle, monkeypatch):
    import serving.health
    from enfold.model import Model

    model, rows, computed = Model(text_bundle), list(np.eye(4)), []
    monkeypatch.setattr(serving.health, "figures", lambda rows: computed.append(len(rows)) or (1, 1, 1, 0))
    health = Health(lambda: [(model, "text", rows)])
    for _ in range(3):
        assert len(list(health.collect())) == 4
    rows.append(np.ones(4))
    list(health.collect())
    assert computed == [4, 5]


def test_a_server_tells_what_its_vectors_are_like(server, http):
    texts = ["red", "green", "blue", "a cat", "dog sat"]
    items = {"model": "words", "items": [{"text": text} for text in texts]}
    assert http.post("/embed", content=json.dumps(items)).status_code == 200
    found = dict(re.findall(r'^enfold_embedding_(\w+)\{.*model="words@1".*\} (\S+)$', http.get("/metrics").text, re.M))
    assert set(found) == {"rows", "norm", "rankme", "not_finite_ratio"}
    assert 5 <= float(found["rows"]) <= ROWS
    assert float(found["norm"]) > 1.5  # the vectors that /embed gives have length 1
    assert 1 < float(found["rankme"]) <= 8
    assert float(found["not_finite_ratio"]) == 0
