"""/rerank on a real server: documents in the order of their relevance, by angle and by pairs."""

import pytest

from tests import bundles
from tests.servers import start, stop, until
from tests.unit.serving.test_service import problem

DOCUMENTS = ["a dog ran", "red cat", "red", {"text": "blue dog sat"}]


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    home = tmp_path_factory.mktemp("ranking")
    bundles.ranking_bundle(home / "bundles", "angles")
    bundles.ranking_bundle(home / "bundles", "pairs", by="pairs")
    bundles.text_bundle(home / "bundles", "words")
    server = start(home, "angles", "pairs", "words", ENFOLD_MAX_ITEMS="8")
    with server.client() as client:
        until(client.ready)
    with server.http() as http:
        yield http
    stop(server)


def rerank(http, **asked):
    return http.post("/rerank", json={"query": "red cat", "documents": DOCUMENTS} | asked)


@pytest.mark.parametrize("model", ["angles", "pairs"])
def test_the_most_relevant_comes_first(http, model):
    answer = rerank(http, model=model).json()
    assert answer["model"] == f"{model}@1"
    assert [result["index"] for result in answer["results"]][:2] == [1, 2]
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(DOCUMENTS)
    assert "document" not in answer["results"][0]


def test_scores_are_those_of_the_task(http):
    items = [{"text": text if isinstance(text, str) else text["text"]} for text in DOCUMENTS]
    body = {"model": "pairs", "task": "rank", "options": {"query": "red cat"}, "items": items}
    scores = [answer["score"] for answer in http.post("/predict", json=body).json()["answers"]]
    results = rerank(http, model="pairs").json()["results"]
    assert {result["index"]: result["relevance_score"] for result in results} == dict(enumerate(scores))


def test_as_many_as_asked_for_with_their_texts(http):
    results = rerank(http, model="angles", top_n=1, return_documents=True).json()["results"]
    assert [result["document"] for result in results] == [{"text": "red cat"}]
    assert len(rerank(http, model="angles", top_n=100).json()["results"]) == 4


@pytest.mark.parametrize(
    ("asked", "status", "code", "words"),
    [
        ({}, 400, "wrong_use", "several models rank: name one of angles@1, pairs@1"),
        ({"model": "words"}, 404, "unknown_name", "unknown task of words@1"),
        ({"model": "nobody"}, 404, "unknown_name", "unknown model"),
        ({"model": "angles", "documents": []}, 422, "wrong_use", "documents"),
        ({"model": "angles", "documents": [5]}, 422, "wrong_use", "documents.0"),
        ({"model": "angles", "documents": ["a"] * 9}, 413, "too_large", "at most 8"),
        ({"model": "angles", "documents": ["a", " "]}, 422, "bad_item", "item 1: the text is empty"),
        ({"model": "angles", "query": ""}, 422, "bad_item", "the text is empty"),
        ({"model": "pairs", "query": " "}, 422, "bad_item", "the text is empty"),
        ({"model": "angles", "top_n": 0}, 422, "wrong_use", "top_n"),
    ],
)
def test_what_cannot_be_ranked_is_a_problem(http, asked, status, code, words):
    assert words in problem(rerank(http, **asked), status, code)


def test_without_a_model_that_ranks_it_says_so(server):
    with server.http() as plain:
        assert "no loaded model ranks" in problem(rerank(plain), 400, "wrong_use")
