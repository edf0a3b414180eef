"""Search over HTTP as people want it: by words, several examples, groups, and the pipelines that a bundle keeps."""

import numpy as np
import pytest

from enfold import store
from enfold.bundle import open_bundle
from tests import bundles
from tests.servers import start, stop, until
from tests.unit.serving.test_service import problem

TEXTS = ["red cat", "red dog", "blue cat sat", "a dog ran", "blue blue blue", "the cat ran"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("searching")
    bundles.text_bundle(home / "bundles", "words")
    bundles.ranking_bundle(home / "bundles", "pairs", by="pairs")
    running = start(home, "words", "pairs")
    with running.client() as client:
        until(client.ready)
        words = next(info for info in client.models() if info.name == "words")
        entry = words.entries["text"]
        facts = {"model": "words@1", "entry": "text", "modality": "text", "space": entry.space}
        with running.http() as http:
            new = {"name": "documents", **facts, "dimensions": entry.dimensions}
            assert http.post("/collections", json=new).status_code == 200
            items = [
                {"item": {"text": text}, "id": uuid(row), "payload": {"row": row, "book": "ab"[row % 2]}}
                for row, text in enumerate(TEXTS)
            ]
            assert (
                http.post("/collections/documents/items", json={"items": items, "model": "words"}).json()["upserted"]
                == 6
            )
    yield running
    stop(running)


@pytest.fixture
def http(server):
    with server.http() as client:
        yield client


def uuid(row):
    return f"00000000-0000-0000-0000-{row:012}"


def search(http, **asked):
    answer = http.post("/collections/documents/search", json={"model": "words", **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


def rows(hits):
    return [hit["payload"]["row"] for hit in hits]


def vectors(http):
    items = [{"text": text} for text in TEXTS]
    answer = http.post("/embed", json={"items": items, "model": "words"}).json()
    found = np.array([one["vector"] for one in answer["vectors"]])
    return found / np.linalg.norm(found, axis=1, keepdims=True), answer["space"]


def test_texts_are_kept_with_their_vectors_and_found_by_words(http):
    hits = search(http, words="BLUE sat")
    assert rows(hits)[0] == 2
    assert set(rows(hits)) == {2, 4}
    assert hits[0]["payload"]["text"] == "blue cat sat"


def test_likeness_and_words_are_fused(http):
    alone = rows(search(http, item={"text": "a dog ran"}))
    fused = rows(search(http, item={"text": "a dog ran"}, words="blue sat"))
    assert fused.index(2) < alone.index(2)
    assert len(fused) == 6


def test_several_examples_are_their_mean_moved_away_from_what_is_unlike(http):
    embedded, space = vectors(http)
    like = [{"id": uuid(0)}, {"item": {"text": TEXTS[1]}}]
    unlike = [{"vector": embedded[4].tolist(), "space": space}]
    hits = search(http, like=like, unlike=unlike, exact=True)
    direction = 2 * embedded[:2].mean(0) - embedded[4]
    scores = embedded @ direction / np.linalg.norm(direction)
    expected = [row for row in np.argsort(-scores, kind="stable") if row != 0]
    assert [hit["score"] for hit in hits] == pytest.approx([scores[row] for row in expected], abs=1e-5)
    assert 0 not in rows(hits)
    far = search(http, unlike=unlike, exact=True)
    assert [hit["score"] for hit in far] == pytest.approx(sorted(-(embedded @ embedded[4]), reverse=True), abs=1e-5)


def test_a_context_says_which_side(http):
    pair = [{"like": {"id": uuid(0)}, "unlike": {"id": uuid(4)}}]
    embedded, _ = vectors(http)
    better = embedded @ embedded[0] >= embedded @ embedded[4]
    found = rows(search(http, item={"text": "the cat ran"}, context=pair))
    sides = [bool(better[row]) for row in found]
    assert sides == sorted(sides, reverse=True)


def test_groups_hold_the_best_of_each_value(http):
    whole = search(http, item={"text": "red cat"})
    best = {book: next(hit for hit in whole if hit["payload"]["book"] == book) for book in "ab"}
    grouped = search(http, item={"text": "red cat"}, group_by="book")
    assert grouped == sorted(best.values(), key=lambda hit: -hit["score"])
    assert len(search(http, item={"text": "red cat"}, group_by="book", group_size=2)) == 4
    assert search(http, item={"text": "red cat"}, group_by="book", offset=1) == grouped[1:]
    assert len(search(http, item={"text": "red cat"}, group_by="nothing", limit=4)) == 4


def test_a_sample_is_drawn_by_chance(server):
    with server.client() as client:
        assert len({point.id for point in client.sample("documents", 4)}) == 4


def test_a_pipeline_is_kept_with_the_model_and_answers_by_its_name(server):
    steps = [
        {"step": "bm25"},
        {"step": "dense"},
        {"step": "fuse", "depth": 6},
        {"step": "rerank", "model": "pairs", "limit": 3},
    ]
    asked = {"item": {"text": "blue cat"}, "limit": 3}
    with server.client() as client, server.http() as http:
        made = client.make_pipeline("best", steps, model="words")
        assert made.model == "words@2"
        until(lambda: any(info.version == 2 for info in client.models() if info.name == "words"))
        now = next(info for info in client.models() if info.name == "words")
        assert [step.step for step in now.pipelines["best"]] == ["bm25", "dense", "fuse", "rerank"]
        assert "Pipeline `best`" in now.card
        fused = search(http, **asked, words="blue cat")
        found = search(http, **asked, pipeline="best")
        assert sorted(rows(found)) == sorted(rows(fused))
        documents = [hit["payload"]["text"] for hit in fused]
        body = {"model": "pairs", "query": "blue cat", "documents": documents}
        ranked = http.post("/rerank", json=body).json()["results"]
        assert [hit["score"] for hit in found] == [result["relevance_score"] for result in ranked]
        second = search(http, item={"text": "blue cat"}, limit=1, offset=1, pipeline="best")
        assert second == found[1:2]
        client.make_pipeline("plain", [{"step": "dense"}], model="words")
        until(lambda: any(info.version == 3 for info in client.models() if info.name == "words"))
        assert search(http, **asked, pipeline="plain") == search(http, **asked)
    bundle = open_bundle(store.find(server.home / "bundles", "words@3"))  # every digest holds
    assert set(bundle.manifest.pipelines) == {"best", "plain"}
    assert bundle.manifest.lineage.parents == ("words@2",)


@pytest.mark.parametrize(
    ("asked", "status", "code", "words"),
    [
        ({}, 400, "wrong_use", "say what to look for"),
        ({"words": "  "}, 400, "wrong_use", "'words' is empty"),
        ({"words": "red", "words_in": "row"}, 400, "wrong_use", "holds int values"),
        ({"words": "red", "words_in": 'a"b'}, 400, "wrong_use", "quotes"),
        ({"like": [{}]}, 400, "wrong_use", "one of item, vector and id, not by none"),
        ({"like": [{"id": uuid(0), "item": {"text": "a"}}]}, 400, "wrong_use", "not by item and id"),
        ({"like": [{"id": uuid(99)}]}, 404, "unknown_name", "no point"),
        ({"like": [{"vector": [1.0], "space": "nobody's"}]}, 409, "space_mismatch", "space"),
        ({"words": "red", "diversity": 0.5}, 400, "wrong_use", "likeness alone"),
        ({"item": {"text": "a"}, "diversity": 2}, 422, "wrong_use", "diversity"),
        ({"item": {"text": "a"}, "diversity": 0.5, "offset": 995}, 400, "wrong_use", "of the first 1,000 hits"),
        ({"item": {"text": "a"}, "group_by": "row", "offset": 5000}, 400, "wrong_use", "of the first 5,000 hits"),
        ({"item": {"text": "a"}, "filter": [{"field": "row"}]}, 422, "wrong_use", "say what the field must be"),
        ({"words": "red", "filter": {"must": [{"field": "row"}]}}, 400, "wrong_use", "none of Qdrant's at must.0"),
        ({"item": {"text": "a"}, "pipeline": "nothing"}, 404, "unknown_name", "pipeline"),
        ({"words": "a", "pipeline": "best"}, 400, "wrong_use", "starts from one text"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(http, asked, status, code, words):
    answer = http.post("/collections/documents/search", json={"model": "words", **asked})
    assert words in problem(answer, status, code)


@pytest.mark.parametrize(
    "steps",
    [[], ["rerank"], ["bm25", "dense"], ["fuse"], ["rerank", "bm25"], ["bm25", "bm25"], ["dense", "rerank", "rerank"]],
)
def test_steps_that_are_no_pipeline_are_refused(http, steps):
    body = {"name": "p", "model": "words", "steps": [{"step": step} for step in steps]}
    assert "no pipeline" in problem(http.post("/pipelines", json=body), 422, "wrong_use")
