"""Proteins over HTTP: however a chain is sent it is one; labels, contacts, mutations, a FASTA file; errors told."""

import re

import numpy as np
import pytest

from tests import bundles
from tests.examples import PEPTIDE, pdb
from tests.servers import start, stop, until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("residues")
    bundles.protein_bundle(home / "bundles")
    running = start(home, "residues")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


def embedded(http, *items):
    answer = http.post("/embed", json={"items": [{"protein": item} for item in items]})
    assert answer.status_code == 200, answer.text
    return [row["vector"] for row in answer.json()["vectors"]]


def predicted(http, task, protein, **options):
    asked = {"items": [{"protein": protein}], "task": task, "options": options}
    answer = http.post("/predict", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["answers"][0]


def test_a_sequence_a_record_a_structure_and_a_file_get_the_same_vector(http):
    short = PEPTIDE[:16]
    ways = [short, short.lower(), f">one\n{short}", {"sequence": short}, pdb(short).decode()]
    vectors = embedded(http, *ways)
    form = http.post("/embed", files=[("protein", ("one.pdb", pdb(short))), ("protein", ("one.fasta", f">a\n{short}"))])
    for vector in (*vectors[1:], *(row["vector"] for row in form.json()["vectors"])):
        np.testing.assert_array_equal(vector, vectors[0])


def test_every_residue_of_a_long_chain_is_labelled(http):
    answer = predicted(http, "tag", PEPTIDE * 3)
    assert answer["sequence"] == PEPTIDE * 3
    assert answer["tags"] == "".join("H" if letter == "K" else "C" for letter in PEPTIDE * 3)
    assert np.array(answer["probabilities"]).shape == (72, 2)


def test_contacts_are_a_symmetric_map_with_its_surest_pairs(http):
    answer = predicted(http, "contacts", "CMMMMMMCMC", top=2)
    assert [(one["first"], one["second"]) for one in answer["pairs"]] == [(1, 8), (1, 10)]
    found = np.array(answer["contacts"])
    np.testing.assert_array_equal(found, found.T)
    assert found[7, 9] == 0, "neighbours are left out"


def test_mutations_are_ranked_best_first(http):
    """At a masked place the later residues of the alphabet are the likelier ones, by a tenth for each letter."""
    answer = predicted(http, "mutations", "MKTAYIAK", mutations=["k2r", "M1L", "A4C:Y5A"])
    assert [one["mutation"] for one in answer["mutations"]] == ["k2r", "M1L", "A4C:Y5A"]
    assert [one["score"] for one in answer["mutations"]] == pytest.approx([0.7, -0.1, 0.2 - 2.3], abs=1e-6)
    assert answer["places"] == [1, 2, 4, 5]
    every = predicted(http, "mutations", "MKTAYIAK" * 4, top=3)
    assert [one["mutation"] for one in every["mutations"]] == ["A4Y", "A7Y", "A12Y"]
    assert np.shape(every["scores"]) == (32, len(every["residues"]))


def test_a_fasta_file_fills_a_collection_in_which_a_chain_finds_itself(http, server, tmp_path):
    file = tmp_path / "three.fasta"
    file.write_text(">one the first\nMKTAYIAK\n>two\nWGDEVHPF\n>three\nMK4\n")
    with server.client() as client:
        job = client.start_job("embed", source=str(file), model="residues", to="index://three")
        until(lambda: client.job(job.id).state in ("done", "failed"), 60)
        assert client.collection("three").points == 2
        [best] = client.search("three", item="mktayiak", modality="protein", limit=1).hits
        assert (best.payload["item"], best.payload["text"]) == ("one", "one the first")
        assert client.original("three", best.id).startswith(b">one")


@pytest.mark.parametrize(
    ("protein", "mutations", "sentence"),
    [
        ("MKTAY", ["A1G"], "'A1G': residue 1 of the protein is M, not A"),
        ("MKTAY", ["M1G", "A6G"], "'A6G': the protein has 5 residues, counted from 1, and no 6"),
        ("MKTAY", ["M0G"], "and no 0"),
        ("MKTAY", ["M1B"], "'M1B' names 'B', which is none of the 20 residues"),
        ("MKTAY", ["M1G:K2*"], "names '\\*'"),
        ("MKTAY", ["methionine"], "'methionine' is no mutation: write the residue"),
        ("MKTAY", ["M1G:"], "is no mutation"),
        ("MKTAY", ["M١G"], "is no mutation"),
        ("MKTAY", ["M1G:M1L"], "changes a place twice"),
        ("MKTAY", [f"M{place}G" for place in range(1, 1026)], "at 1,025 places; at most 1,024"),
        ("MKTAY", "M1G", "'mutations' of mutations"),
        ("MKTAYIAK" * 200, [], "the protein has 1,600 residues; at most 1,024"),
    ],
)
def test_a_mutation_that_cannot_be_gets_a_4xx_with_its_sentence(http, protein, mutations, sentence):
    asked = {"items": [{"protein": protein}], "task": "mutations", "options": {"mutations": mutations}}
    answer = http.post("/predict", json=asked)
    assert 400 <= answer.status_code < 500, answer.text
    assert re.search(sentence, answer.json()["detail"]), answer.json()["detail"]


@pytest.mark.parametrize(
    ("protein", "options", "sentence"),
    [
        ("", {}, "the sequence is empty"),
        ("MK4", {}, "letter 3 of the sequence is '4'"),
        (">a\nMKT\n>b\nMKT", {}, "holds 2 records"),
        (pdb("MKT", "WGD").decode(), {}, "2 different chains"),
        (pdb("MKT").decode()[:90], {}, "structure"),
        ("M" * 100_001, {}, "100,001 residues"),
        ({"sequence": 3}, {}, "a text, not int"),
        ([1], {}, "a text or an object, not list"),
        ("MKT", {"top": -1}, "'top' of contacts"),
    ],
)
def test_what_makes_no_sense_gets_a_4xx_with_its_sentence(http, protein, options, sentence):
    asked = {"items": [{"protein": protein}], "task": "contacts", "options": options, "all_or_nothing": True}
    answer = http.post("/predict", json=asked)
    assert 400 <= answer.status_code < 500, answer.text
    assert re.search(sentence, answer.json()["detail"]), answer.json()["detail"]


def test_the_schema_shows_what_labels_contacts_and_scores_are(http):
    known = http.get("/openapi.json").json()["components"]["schemas"]
    assert set(known["TagAnswer"]["properties"]) == {"sequence", "tags", "labels", "probabilities"}
    assert set(known["ContactsAnswer"]["properties"]) == {"sequence", "pairs", "contacts"}
    assert set(known["MutationsAnswer"]["properties"]) == {"sequence", "mutations", "places", "residues", "scores"}
