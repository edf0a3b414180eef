"""Proteins: one chain however it is written, from structures what was resolved, and nothing silently guessed."""

import json

import numpy as np
import pytest

from enfold.errors import BadItem, TooLarge
from enfold.modalities.protein import CLS, FIRST, SEP, UNK, Protein, ProteinJson, ProteinLimits, ProteinPreprocess
from tests.examples import PEPTIDE, mmcif, pdb

SHORT = Protein(ProteinPreprocess(max_residues=16, overlap=4))


def test_every_way_of_writing_a_chain_is_one_sequence():
    ways = [
        PEPTIDE,
        f" {PEPTIDE.lower()}\r\n",
        f"{PEPTIDE}*",
        f">sp|P1|ONE_HUMAN one\n{PEPTIDE[:9]}--..{PEPTIDE[9:]}",
        {"sequence": PEPTIDE},
        json.dumps({"sequence": PEPTIDE}).encode(),
        "\ufeff" + PEPTIDE,
        pdb(PEPTIDE),
        mmcif(pdb(PEPTIDE)),
    ]
    assert {SHORT.read(one).sequence for one in ways} == {PEPTIDE}
    assert len({SHORT.mark(SHORT.read(one)) for one in ways}) == 1, "copies are known by their residues"
    assert SHORT.words(SHORT.read(ways[3])) == "sp|P1|ONE_HUMAN one"
    assert SHORT.words(SHORT.read(PEPTIDE)) is None


def test_residues_have_the_tokens_of_tape():
    [sample] = SHORT.prepare(SHORT.read("ACXBZUOJ"))
    own = dict(zip("ABCDEFGHIKLMNOPQRSTUVWXYZ", range(FIRST, 30), strict=True)) | {"J": UNK}
    assert sample.arrays["input_ids"].tolist() == [CLS, *(own[letter] for letter in "ACXBZUOJ"), SEP]
    assert SHORT.input_size == 30


def test_a_long_chain_is_its_beginning_or_all_its_windows():
    chain = SHORT.read(PEPTIDE * 2)  # 48 residues
    [whole] = SHORT.prepare(chain)
    assert len(whole.arrays["input_ids"]) == 18
    samples = SHORT.prepare(chain, parts=True)
    assert [(one.part.start, one.part.end) for one in samples] == [(0, 16), (12, 28), (24, 40), (36, 48)]
    assert [one.part for one in SHORT.prepare(SHORT.read(PEPTIDE[:16]), parts=True)] == [None]


def test_a_hundred_thousand_residues_are_windows_and_one_more_is_too_large():
    most = Protein(ProteinPreprocess()).read("M" * 100_000)
    samples = Protein(ProteinPreprocess()).prepare(most, parts=True)
    assert samples[-1].part.end == 100_000
    with pytest.raises(TooLarge, match="100,001 residues; at most 100,000"):
        SHORT.read("M" * 100_001)
    with pytest.raises(TooLarge, match="windows of 16; at most 1,024"):
        SHORT.prepare(most, parts=True)
    with pytest.raises(TooLarge, match="5 residues; at most 4"):
        Protein(ProteinPreprocess(), ProteinLimits(max_residues=4)).read("MKTAY")


def test_a_structure_gives_places_of_c_beta_and_of_c_alpha_where_there_is_none():
    chain = SHORT.read(pdb("MGT"))
    assert chain.coordinates.shape == (3, 3)
    np.testing.assert_allclose(np.hypot(*chain.coordinates[:, :2].T), [3.3, 2.3, 3.3], atol=1e-2)
    helix = SHORT.read(pdb(PEPTIDE)).contacts()
    assert (helix == helix.T).all()
    assert helix.diagonal().all()
    assert helix[0, 3], "a helix comes round after three and a half residues"
    assert not helix[0, 12]
    with pytest.raises(BadItem, match="no coordinates"):
        SHORT.read(PEPTIDE).contacts()


def test_of_several_chains_one_is_named_and_copies_are_one():
    assert SHORT.read(pdb("MKTAYI", "MKTAYI")).sequence == "MKTAYI"
    two = pdb("MKTAYI", "WGDEVH").decode()
    assert SHORT.read({"structure": two, "chain": "B"}).sequence == "WGDEVH"
    with pytest.raises(BadItem, match=r"2 different chains, A \(6\), B \(6\)"):
        SHORT.read(two)
    with pytest.raises(BadItem, match=r"no chain 'C' of a protein: it has A \(6\), B \(6\)"):
        SHORT.read({"structure": two, "chain": "C"})


def test_what_is_modified_counts_as_what_it_was_and_ligands_do_not():
    lines = pdb("MKT").decode().splitlines()
    selenium = [line.replace("ATOM  ", "HETATM").replace("MET", "MSE") for line in lines[:2]]
    free = [line.replace("ATOM  ", "HETATM").replace("THR A   3", "GLU A   4") for line in lines[4:6]]
    water = [lines[0].replace("ATOM  ", "HETATM").replace("MET A   1", "HOH A   9")]
    assert SHORT.read("\n".join([*selenium, *lines[2:6], *free, *water, "END"])).sequence == "MKT"


def test_of_models_the_first_is_taken():
    first, second = (pdb(one).decode().removesuffix("END\n") for one in ("MKT", "WWW"))
    assert SHORT.read(f"MODEL        1\n{first}ENDMDL\nMODEL        2\n{second}ENDMDL\nEND\n").sequence == "MKT"


def test_a_file_of_records_is_so_many_items(tmp_path):
    file = tmp_path / "three.fasta"
    file.write_text(f">one first of all\n{PEPTIDE}\n\n>two\nMK\nTA\n>two\nWGDEVH")
    found = Protein.records(file)
    assert [one.name for one in found] == ["one", "two", "two 3"]
    assert [SHORT.read(one).sequence for one in found] == [PEPTIDE, "MKTA", "WGDEVH"]
    for alone in (f">one\n{PEPTIDE}", PEPTIDE, ""):
        file.write_text(alone)
        assert list(Protein.records(file)) == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("MKT4AYI", "letter 4 of the sequence is '4', which is no residue"),
        ("MKT*AYI", "a stop: cut the protein there"),
        ("ATGACCGCGTACATT" * 3, "of A, C, G, T alone, a nucleic acid: translate it"),
        (">a\nMKT\n>b\nMKT", "holds 2 records and an item is one"),
        ("", "the sequence is empty"),
        (">a\n", "the sequence is empty"),
        ({"sequence": "MKT", "chain": "A"}, "a protein object has a sequence"),
        ({"sequence": 3}, "sequence of a protein is a text, not int"),
        (pdb("MKT")[:90], "damaged or cut short|no residue"),
        (pdb("X", element="HETATM").replace(b"XAA", b"HOH"), "no residue of a protein with coordinates"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, sentence):
    with pytest.raises(BadItem, match=sentence):
        SHORT.prepare(SHORT.read(given))


def test_a_request_holds_a_text_or_an_object():
    for given in (PEPTIDE, {"sequence": PEPTIDE}, {"structure": pdb(PEPTIDE).decode(), "chain": "A"}):
        assert SHORT.read(SHORT.from_json(ProteinJson(protein=given))).sequence == PEPTIDE
    for given, sentence in ((["M"], "a text or an object, not list"), ("MK\ud800", "a lone surrogate at character 2")):
        with pytest.raises(BadItem, match=sentence):
            SHORT.from_json(ProteinJson.model_construct(protein=given))


@pytest.mark.parametrize(
    ("ids", "mask", "sentence"),
    [
        ([[2, 5, 3]], [[1, 1]], "not of one shape"),
        ([[2, 3]], [[1, 1]], "takes 3 to 18"),
        ([[2, 30, 3]], [[1, 1, 1]], "go from 2 to 30"),
        ([[2, 5, 3, 0]], [[1, 0, 1, 1]], "then 0 for padding"),
        ([[2, 3, 0, 5]], [[1, 1, 1, 0]], "no residue"),
    ],
)
def test_what_was_prepared_elsewhere_is_checked(ids, mask, sentence):
    with pytest.raises(BadItem, match=sentence):
        SHORT.prepared({"input_ids": np.array(ids), "attention_mask": np.array(mask)})


def test_windows_that_do_not_move_are_no_preprocessing():
    with pytest.raises(ValueError, match="overlap 8 must be less than max_residues 8"):
        ProteinPreprocess(max_residues=8, overlap=8)
