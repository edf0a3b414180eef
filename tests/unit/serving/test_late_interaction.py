"""Late interaction from end to end: vectors of tokens are made, kept, found by, carried along and refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import enfold
from enfold import settings
from enfold.errors import Conflict, WrongUse
from serving.commands import create_collection
from serving.index import Points, Query, arrow, collection, open_index
from serving.jobs import pipeline
from serving.jobs.embed import embed
from serving.jobs.upgrade import upgrade
from serving.snapshots import restore, snapshot
from tests import bundles, explorer
from tests.servers import start, stop, until
from tests.unit.serving.conftest import new_collection, points
from tests.unit.serving.test_service import problem

TEXTS = ["red cat", "cat", "blue cat sat", "a dog ran", "blue blue blue", "the cat ran a red dog sat"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("late")
    bundles.text_bundle(home / "bundles", tokens=True)
    bundles.text_bundle(home / "bundles", "plain")
    running = start(home, "words", "plain")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


@pytest.fixture
def client(server):
    with server.client() as client:
        for kept in client.collections():
            client.drop_collection(kept.name)
        yield client


@pytest.fixture
def http(server, client):
    with server.http() as http:
        yield http


def new(client, name="texts", model="words", tokens=8):
    info = next(one for one in client.models() if one.name == model)
    entry = info.entries["text"]
    facts = {"model": f"{model}@1", "entry": "text", "modality": "text", "dimensions": entry.dimensions}
    return {"name": name, "space": entry.space, "tokens": tokens, **facts}


@pytest.fixture
def texts(http, client):
    assert http.post("/collections", json=new(client)).status_code == 200
    items = [{"item": {"text": text}, "payload": {"row": row}} for row, text in enumerate(TEXTS)]
    answer = http.post("/collections/texts/items", json={"items": items, "model": "words"})
    assert answer.json() == {"collection": "texts", "upserted": len(TEXTS)}


def tokens_of(model, text):
    [sample] = model.prepare(text)
    return model.encode_tokens([sample])[1][0]


def max_sim(model, asked, text):
    return float((tokens_of(model, asked) @ tokens_of(model, text).T).max(1).sum())


@pytest.fixture
def model(home):
    bundles.text_bundle(home / "bundles", tokens=True)
    return enfold.open("words")


def test_tokens_of_a_batch_are_those_of_each_text_alone_and_none_of_padding(model):
    samples = [model.prepare(text)[0] for text in TEXTS]
    together, tokens = model.encode_tokens(samples)
    np.testing.assert_allclose(together["out_embedding"], model.encode(samples)["out_embedding"], atol=1e-6)
    for text, sample, own in zip(TEXTS, samples, tokens, strict=True):
        assert len(own) == len(text.split()) == sample.arrays["input_ids"].shape[0]
        np.testing.assert_allclose(own, tokens_of(model, text), atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(own, axis=1), 1, atol=1e-5)


def test_an_encoder_without_tokens_says_so(home):
    bundles.text_bundle(home / "bundles", "plain")
    plain = enfold.open("plain")
    with pytest.raises(WrongUse, match="entry 'text' of plain@1 gives no vectors of tokens"):
        plain.encode_tokens(plain.prepare("red"))
    with pytest.raises(WrongUse, match="gives no vectors of tokens"):
        create_collection("texts", model="plain", tokens=True)


def test_a_search_orders_points_by_their_tokens(texts, client, model):
    found = client.search("texts", item="cat dog", modality="text", model="words", late_interaction=True)
    scores = {hit.payload["row"]: hit.score for hit in found.hits}
    assert scores == pytest.approx({row: max_sim(model, "cat dog", text) for row, text in enumerate(TEXTS)}, rel=1e-4)
    # Only the last text has both words; the mean of its six is far from that of the two.
    assert found.hits[0].payload["row"] == 5
    assert found.hits[0].score == pytest.approx(2, rel=1e-5)
    nearest = client.search("texts", item="cat dog", modality="text", model="words").hits
    assert nearest[0].payload["row"] != 5


def test_the_explorer_offers_it_where_tokens_are_kept(texts, server, client, monkeypatch):
    from streamlit.testing.v1 import AppTest

    explorer.ask(server, monkeypatch)
    page = AppTest.from_file(Path(__file__).parents[3] / "app" / "main.py", default_timeout=30)
    page.query_params["collection"] = "texts"
    page = page.run().switch_page("screens/search.py").run()
    page.text_area[0].set_value("cat dog").run()
    page.sidebar.checkbox[0].check().run()
    assert not page.exception
    best = client.search("texts", item="cat dog", modality="text", late_interaction=True).hits[0]
    assert "2.000" == f"{best.score:.3f}" in page.text[0].value


def test_words_may_stand_beside_it(texts, client):
    asked = {"item": "cat dog", "modality": "text", "model": "words", "words": "ran", "limit": 1}
    assert client.search("texts", **asked, late_interaction=True).hits[0].payload["row"] == 5


def test_what_it_cannot_do_is_a_sentence(texts, http, client):
    search, item = "/collections/texts/search", {"text": "red"}
    for asked, sentence in (
        ({"words": "red"}, "send it, and nothing but 'words' beside it"),
        ({"item": item, "unlike": [{"item": item}]}, "compares the tokens of one item"),
        ({"vector": [1.0] * 8, "space": "sp"}, "compares the tokens of one item"),
        ({"item": item, "diversity": 0.5}, "of one item: leave out 'diversity'"),
        ({"item": item, "pipeline": "any"}, "a pipeline starts from one text"),
    ):
        answer = http.post(search, json={"model": "words", "late_interaction": True, **asked})
        assert sentence in problem(answer, 400, "wrong_use")
    http.post("/collections", json=new(client, "plain", "plain", None))
    asked = {"item": item, "model": "plain", "late_interaction": True}
    answer = http.post("/collections/plain/search", json=asked)
    assert "'plain' keeps no tokens" in problem(answer, 400, "wrong_use")


def test_a_table_of_points_brings_its_tokens_and_takes_them_away(texts, client):
    with_them, without = (client.points("texts", tokens=told) for told in (True, False))
    assert "tokens" not in without.column_names
    assert with_them["tokens"].type == pa.list_(pa.list_(pa.float32(), 8))
    client.upsert("texts", with_them)
    assert client.points("texts", tokens=True).equals(with_them)
    with pytest.raises(WrongUse, match="keeps the tokens of its points, of 8 numbers, and none came"):
        client.upsert("texts", without)


def test_a_job_keeps_them_in_files_and_in_an_index_which_both_need_the_word(model, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "SHARD_ITEMS", 4)
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(f'{{"text": "{text}"}}\n' for text in TEXTS))
    assert embed(str(source), model="words", to=f"parquet://{tmp_path}/out", tokens=True)["vectors"] == len(TEXTS)
    table = parquet.read_table(tmp_path / "out" / "part-00001.parquet")
    assert list(map(len, arrow.to_tokens(table["token_vectors"]))) == [len(text.split()) for text in TEXTS[:4]]
    assert embed(str(source), model="words", to="index://late", tokens=True)["vectors"] == len(TEXTS)
    with pytest.raises(Conflict, match="keeps tokens of 8 numbers, and none are asked for: see --tokens"):
        embed(str(source), model="words", to="index://late")
    [page] = scrolled("late")
    for payload, tokens in zip(page.payloads, page.tokens, strict=True):
        np.testing.assert_allclose(tokens, tokens_of(model, payload["text"]), atol=1e-6)


def scrolled(name):
    index = open_index(settings.load(), "")
    found = list(index.collection(name).scroll(tokens=True))
    index.close()
    return found


@pytest.fixture
def late(model, tmp_path):
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(f'{{"text": "{text}"}}\n' for text in TEXTS))
    embed(str(source), model="words", to="index://late", tokens=True)


def test_a_snapshot_has_them(late, tmp_path):
    snapshot("late", tmp_path / "kept")
    assert restore(tmp_path / "kept", name="again")["points"] == len(TEXTS)
    [was], [found] = scrolled("late"), scrolled("again")
    assert was.ids == found.ids
    for before, after in zip(was.tokens, found.tokens, strict=True):
        np.testing.assert_array_equal(before, after)


def test_an_upgrade_makes_them_anew_and_refuses_a_bundle_without(late, home):
    other = bundles.text_bundle(home / "bundles", seed=1, width=6, tokens=True)
    bundles.text_bundle(home / "bundles", "plain", seed=2)
    with pytest.raises(WrongUse, match="plain@1 gives no vectors of tokens"):
        upgrade("late", to="plain")
    assert upgrade("late", to=other.ref)["generation"] == 2
    [page] = scrolled("late")
    for payload, tokens in zip(page.payloads, page.tokens, strict=True):
        np.testing.assert_allclose(tokens, tokens_of(enfold.open(other.ref), payload["text"]), atol=1e-6)


def test_a_graph_is_built_over_vectors_and_not_over_tokens(home, monkeypatch):
    monkeypatch.setattr(collection, "GRAPH_KIB", 100)
    index = open_index(settings.load(), "")
    kept = index.create(new_collection(dimensions=64).model_copy(update={"tokens": 16}))
    many = points(1000, dimensions=64)
    tokens = [np.random.default_rng(row).normal(size=(1 + row % 9, 16)).astype(np.float32) for row in range(1000)]
    kept.upsert(Points(many.ids, many.vectors, many.payloads, many.space, tokens=tokens))
    kept.optimize()
    assert (kept.info().graph, kept.info().indexed) == ("built", 1000)
    assert kept.query(Query(many.vectors[7], tokens=tokens[7], limit=1))[0].payload["row"] == 7
    index.close()
