"""The task `rank`: what is relevant to a query, by angle and by a graph that reads both."""

import numpy as np
import pytest

import enfold
from enfold.errors import BadItem
from tests import bundles

TEXTS = ["a dog ran", "red cat", "red", "blue dog sat"]


def scores(model, query, texts=TEXTS):
    return [answer.score for answer in model.predict(texts, "rank", {"query": query})]


def test_by_cosine_it_is_the_angle_between_the_vectors_that_embed_gives(home):
    bundles.ranking_bundle(home / "bundles")
    model = enfold.open("ranks")
    query, texts = model.embed(["red cat"]).vectors[0], model.embed(TEXTS).vectors
    np.testing.assert_allclose(scores(model, "red cat"), texts @ query, atol=1e-6)


def test_a_query_has_a_prefix_of_its_own(home):
    spec = {"by": "cosine", "graph": "encode_text", "query_prefix": "blue "}
    bundles.text_bundle(home / "bundles", "asks", tasks={"rank": spec})
    assert scores(enfold.open("asks"), "cat", ["blue cat"])[0] == pytest.approx(1)


def test_by_pairs_the_graph_sees_both_texts_and_padding_changes_nothing(home):
    bundles.ranking_bundle(home / "bundles", by="pairs")
    model = enfold.open("ranks")
    shared = np.array([1, 2, 1, 0])  # words of each text that the query has too
    np.testing.assert_allclose(scores(model, "red cat a"), 1 / (1 + np.exp(-shared)), atol=1e-6)
    many = TEXTS * 9  # more than one batch
    np.testing.assert_allclose(scores(model, "red cat a", many), scores(model, "red cat a") * 9, atol=1e-6)


@pytest.mark.parametrize("by", ["cosine", "pairs"])
def test_a_query_that_is_no_text_is_refused(home, by):
    bundles.ranking_bundle(home / "bundles", by=by)
    for query in ("", "  ", "\ud800"):
        with pytest.raises(BadItem):
            scores(enfold.open("ranks"), query)


def test_the_best_order_has_a_gain_of_one(home):
    bundles.ranking_bundle(home / "bundles")
    model = enfold.open("ranks")
    task = model.task("rank")
    answers = model.predict(TEXTS, "rank", {"query": "red cat"})
    assert task.measure(answers, [0, 1, 0, 0])["ndcg"] == 1
    assert task.measure(answers, [1, 0, 0, 0])["ndcg"] < 1
