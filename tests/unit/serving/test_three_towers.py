"""Three towers of one space over HTTP, two of them of one modality; and a tower that was tuned alone.

*Synthetic* stars through a recipe, the gate and a real server: every entry is called by its name.
"""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http
from tritonclient.http import InferInput

import enfold
from enfold import settings
from enfold.errors import BadItem, WrongUse
from tests import stars
from tests.servers import start, stop, until
from tests.unit.serving.test_service import problem
from training import recipe
from training.artefacts import needed_encoder
from training.run import Run

SEEN = [stars.star(number) for number in range(12)]
ENTRIES = {
    "series": [{"series": base64.b64encode(stars.csv(star["curve"]).encode()).decode()} for star in SEEN],
    "colours": [{"table": star["colours"]} for star in SEEN],
    "metadata": [{"table": star["metadata"]} for star in SEEN],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Of one run: bundles "stars", of three towers, and "stars-by-colour"; its figures are in it."""
    folder, patched = tmp_path_factory.mktemp("towers"), pytest.MonkeyPatch()
    patched.setenv("ENFOLD_HOME", str(folder))
    try:
        run = Run(recipe.load(str(stars.page(folder))), settings.load())
        run.carry_out()
        (folder / "run").symlink_to(run.path)
        yield folder
    finally:
        patched.undo()


@pytest.fixture(scope="module")
def server(home):
    """A collection of each entry."""
    running = start(home, "stars", "stars-by-colour")
    with running.client() as client:
        until(client.ready)
    with running.http() as http:
        for entry, items in ENTRIES.items():
            facts = http.get("/models/stars").json()["entries"][entry]
            new = {key: facts[key] for key in ("modality", "space", "dimensions")}
            made = http.post("/collections", json={"name": f"of-{entry}", "model": "stars@1", "entry": entry, **new})
            assert made.is_success, made.text
            rows = [
                {"item": item, "id": f"00000000-0000-0000-0000-{row:012}", "payload": {"label": SEEN[row]["label"]}}
                for row, item in enumerate(items)
            ]
            asked = {"items": rows, "model": "stars", "entry": entry}
            assert http.post(f"/collections/of-{entry}/items", json=asked).json()["upserted"] == len(SEEN)
    yield running
    stop(running)


@pytest.fixture
def http(server):
    with server.http() as http:
        yield http


def vectors(http, entry, items=None, model="stars"):
    found = http.post("/embed", json={"model": model, "entry": entry, "items": items or ENTRIES[entry]})
    assert found.status_code == 200, found.text
    return np.array([one["vector"] for one in found.json()["vectors"]])


def test_entries_of_one_modality_are_called_by_their_columns_and_share_a_space(http):
    entries = http.get("/models/stars").json()["entries"]
    assert {name: one["modality"] for name, one in entries.items()} == {
        "series": "series", "colours": "table", "metadata": "table",
    }  # fmt: skip
    assert len({one["space"] for one in entries.values()}) == 1
    [alone] = http.get("/models/stars-by-colour").json()["entries"].items()
    assert alone[0] == "table"  # there is no other that it could be taken for
    assert alone[1]["space"] != entries["colours"]["space"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_tower_embeds_alone_vectors_of_length_1(http, entry):
    found = vectors(http, entry)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors(http, entry, ENTRIES[entry][:1]), found[:1], atol=1e-5)
    assert np.linalg.matrix_rank(found, tol=1e-3) > 1


def test_where_several_entries_take_an_item_one_is_named(http):
    for asked in ({}, {"model": "stars"}):
        body = {"items": ENTRIES["colours"][:1], **asked}
        refused = http.post("/embed", json=body) if asked else None
        if refused is not None:
            assert "has several entries: name one of colours, metadata" in problem(refused, 400, "wrong_use")
    for asked in ({}, {"model": "stars"}):
        refused = http.post("/collections/of-series/search", json={"item": ENTRIES["colours"][0], **asked})
        assert "name one of colours, metadata" in problem(refused, 400, "wrong_use")


def test_a_row_of_the_other_columns_is_refused_by_name(http):
    refused = http.post("/embed", json={"model": "stars", "entry": "metadata", "items": ENTRIES["colours"][:1]})
    assert "none of the columns that this model was trained on: amplitude, log period" in problem(
        refused, 422, "bad_item"
    )
    refused = http.post("/embed", json={"model": "stars", "entry": "colours", "items": ENTRIES["series"][:1]})
    assert "takes table items, not series" in problem(refused, 400, "wrong_use")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("collection", ENTRIES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_an_item_of_any_entry_finds_those_of_any_other(http, collection, entry, named):
    """In the order of the cosines of what each entry gives."""
    stored, asked = vectors(http, collection), vectors(http, entry)
    body = {"item": ENTRIES[entry][3], "entry": entry, "limit": 12, "exact": True}
    found = http.post(f"/collections/of-{collection}/search", json=body | ({"model": "stars"} if named else {}))
    assert found.status_code == 200, found.text
    scores = stored @ asked[3]
    assert [hit["score"] for hit in found.json()["hits"]] == pytest.approx(np.sort(scores)[::-1], abs=1e-4)
    assert int(found.json()["hits"][0]["id"][-4:]) == scores.argmax()


def test_a_tuned_tower_classifies_what_it_reads(http):
    body = {"model": "stars-by-colour", "task": "classify", "items": ENTRIES["colours"]}
    answers = http.post("/predict", json=body).json()["answers"]
    assert {one["label"] for one in answers} <= set(stars.CLASSES)
    assert np.mean([one["label"] == star["label"] for one, star in zip(answers, SEEN, strict=True)]) > 0.5
    refused = http.post("/predict", json=body | {"items": ENTRIES["series"][:1]})
    assert "takes table items, not series" in problem(refused, 400, "wrong_use")


def test_a_job_embeds_by_the_entry_that_it_names(server, tmp_path):
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(json.dumps({"table": star["metadata"]}) for star in SEEN))
    done = server.enfold("embed", source, "--model", "stars", "--entry", "metadata", "--to", "index://by-job", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    with server.client() as client:
        assert client.collection("by-job").points == len(SEEN)
        one = {"item": json.dumps(SEEN[5]["metadata"]).encode(), "modality": "table", "entry": "metadata"}
        assert client.search("by-job", limit=1, **one).hits[0].score == pytest.approx(1, abs=1e-4)
    (tmp_path / "row.json").write_text(json.dumps(SEEN[5]["metadata"]))
    words = ("search", "of-series", "--item", tmp_path / "row.json", "--entry", "metadata", "--limit", "3", "--json")
    found = server.enfold(*words)
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(json.loads(found.stdout)) == 3


def test_raw_tensors_are_named_as_the_entry_where_the_modality_does_not_tell(server, http):
    client = tritonclient.http.InferenceServerClient(server.url.removeprefix("http://"))
    try:
        told = {one["name"] for one in client.get_model_metadata("stars")["inputs"] if one["datatype"] == "BYTES"}
        assert told == {"series", "colours", "metadata"}
        rows = np.array([json.dumps(star["metadata"]).encode() for star in SEEN], object)
        tensor = InferInput("metadata", [len(rows)], "BYTES")
        tensor.set_data_from_numpy(rows)
        found = client.infer("stars", [tensor]).as_numpy("out_embedding")
        np.testing.assert_allclose(found, vectors(http, "metadata"), atol=1e-5)
    finally:
        client.close()
    body = {"inputs": [{"name": "table", "datatype": "BYTES", "shape": [1], "data": ["e30="]}]}
    assert "takes series (BYTES) or colours (BYTES) or metadata" in http.post("/v2/models/stars/infer", json=body).text
    path = {"name": "colours", "datatype": "BYTES", "shape": [1], "data": ["/etc/hostname"]}
    refused = http.post("/v2/models/stars/infer", json={"inputs": [path]})
    assert refused.status_code == 422
    assert "base64" in refused.text  # a text is never the name of a file here
    kinds = {"name": "kinds", "datatype": "INT64", "shape": [1, 1], "data": [2]}
    values = {"name": "values", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}
    pieces = {"name": "pieces", "datatype": "INT64", "shape": [1, 1, 8], "data": [1] * 8}
    refused = http.post("/v2/models/stars/infer", json={"inputs": [pieces, values, kinds]})
    assert "entries colours or metadata of stars@1 take such inputs" in refused.text


def test_in_the_process_too_an_entry_is_named(home, monkeypatch):
    monkeypatch.setenv("ENFOLD_HOME", str(home))
    model = enfold.open("stars")
    assert model.embed([SEEN[0]["colours"]], "colours").space == model.embed([SEEN[0]["curve"]], "series").space
    with pytest.raises(WrongUse, match="has several entries: name one of series, colours, metadata"):
        model.embed([SEEN[0]["colours"]])
    with pytest.raises(BadItem, match="none of the columns"):
        model.embed([SEEN[0]["colours"]], "metadata")
    facts = model.bundle.manifest
    assert set(facts.graphs) == {"encode_series", "encode_colours", "encode_metadata"}
    assert facts.entries["colours"].preprocess["columns"] != facts.entries["metadata"].preprocess["columns"]
    assert facts.lineage.method == enfold.open("stars-by-colour").bundle.manifest.lineage.method == "astrom3"
    assert enfold.open("stars-by-colour").bundle.manifest.lineage.parents == ("stars@1",)


@pytest.mark.parametrize(
    ("needs", "side", "words"),
    [
        (("pretrain",), "brief", r"works on column 'brief'; 'pretrain' made towers of colours, metadata"),
        ((), "colours", r"needs no stage that made a tower of 'colours': name a fresh one, encoder"),
    ],
)
def test_a_column_without_a_tower_is_told(home, monkeypatch, needs, side, words):
    monkeypatch.setenv("ENFOLD_HOME", str(home))
    facts = recipe.load(str(home / "stars.toml"))
    stage = next(one for one in facts.stage if one.name == "tune_colours")
    run = Run(facts, settings.load(), folder=(home / "run").resolve())
    with pytest.raises(WrongUse, match=words):
        needed_encoder(stage.model_copy(update={"needs": needs, "side": side}), run)


def test_towers_are_judged_pair_by_pair_and_together(home):
    figures = json.loads((Path(home) / "run/run.json").read_text())["stages"]["match"]["figures"]
    names = ("series", "colours", "metadata")
    pairs = {f"tower_retrieval_{one}_to_{two}_r5" for one in names for two in names if one != two}
    assert pairs <= set(figures)
    assert figures["tower_retrieval_chance_r5"] == pytest.approx(5 / 16)
    by = {name: figures[f"fused_probe_{name}_balanced_accuracy"] for name in names}
    assert min(by["colours"], by["metadata"]) > 0.25  # of four classes
    assert 0.25 < figures["fused_probe_balanced_accuracy"] <= 1
