"""Proteins, chains and peptides, from packages as they are: what is taken, what it is called, and families held out."""

import gzip
import json

import numpy as np
import pytest

from enfold.modalities.protein import Protein, ProteinPreprocess
from tests.examples import pdb
from training.data.builders import chains, peptides, proteins
from training.data.homologs import SHARED, families, most_shared
from training.data.sources import open_dataset

READER = Protein(ProteinPreprocess())
STANDARD = list("ACDEFGHIKLMNPQRSTVWY")
LETTERS = "-ABCDEFGHIKLMNPQRSTVWXYZU*OJ"


def made_up(seed: int, length: int = 60) -> str:
    return "".join(np.random.default_rng(seed).choice(STANDARD, length))


def changed(sequence: str, every: int) -> str:
    """With another residue in every so manieth place."""
    return "".join("W" if place % every == every - 1 else letter for place, letter in enumerate(sequence))


def splits_of(data) -> dict[str, list[str]]:
    return {
        split: [data.read(i, READER).sequence for i, one in enumerate(data.records) if one.split == split]
        for split in ("train", "val", "test")
    }


def test_relatives_are_one_family_and_strangers_are_not():
    near, chained = changed(made_up(0), 20), changed(changed(made_up(0), 20), 7)
    found = families([made_up(0), near, made_up(1), chained, made_up(2), "MKT"])
    assert found == [0, 0, 2, 0, 4, 5]
    assert most_shared([made_up(0)], [chained]) < SHARED <= most_shared([near], [chained]), "the second is its bridge"
    assert most_shared([made_up(0)], [made_up(0)]) == 55
    assert most_shared([made_up(1)], [made_up(2), "MKT"]) == 0


def blast(folder, entries: list[tuple[str, str, str]]) -> None:
    """A protein database of version 4: accession, terms and sequence of each."""
    headers, residues = b"", b"\0"
    of_headers, of_residues = [0], [1]
    for name, terms, sequence in entries:
        headers += b"0\x80\x1a" + bytes([len(name) % 128]) + f"{name}|{terms}".encode() + b"\0\0"
        residues += bytes(LETTERS.index(letter) for letter in sequence) + b"\0"
        of_headers.append(len(headers))
        of_residues.append(len(residues))
    index = b"".join(number.to_bytes(4, "big") for number in (4, 1))
    for text in (b"a title", b"a date\0\0"):
        index += len(text).to_bytes(4, "big") + text
    index += len(entries).to_bytes(4, "big") + (len(residues)).to_bytes(8, "little") + (99).to_bytes(4, "big")
    index += np.array([*of_headers, *of_residues], ">u4").tobytes()
    for suffix, content in ((".pin", index), (".phr", headers), (".psq", residues)):
        (folder / f"goasp.fasta{suffix}").write_bytes(content)


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Forty proteins, every third a ligase by a term below it; one of two functions, one of none, one too short."""
    folder = tmp_path / "packages/usr/share/metastudent-data/dataset_201401"
    (folder / "MFO").mkdir(parents=True)
    names = {"GO:0016874": "ligase activity", "GO:0000001": "gluing", "GO:0005215": "transporter activity"}
    (folder / "nameMapping.txt").write_text("".join(f"{term}\t{name}\n" for term, name in names.items()))
    (folder / "fullTransitiveClosureGO.txt").write_text(
        "GO:0000001\tOBO_REL:is_a\tGO:0016874\t1\nGO:0000002\tOBO_REL:is_a\tGO:0003674\t1\n"
    )
    terms = ["GO:0000001,GO:0000001", "GO:0005215", "GO:0000002"]
    entries = [(f"P{i:05}", terms[i % 3], changed(made_up(i // 2), 9 + i % 2)) for i in range(40)]
    entries += [("Q00001", "GO:0005215,GO:0000001", made_up(90)), ("Q00002", "GO:0000001", "MKTAYI")]
    blast(folder / "MFO", entries)
    monkeypatch.setattr(proteins, "OF_EACH", 10)
    target = tmp_path / "data/proteins"
    target.mkdir(parents=True)
    proteins.build({"metastudent-data": tmp_path / "packages"}, target)
    return open_dataset("proteins", data=tmp_path / "data"), {name: sequence for name, _, sequence in entries}


def test_proteins_keep_their_residues_and_have_the_function_that_all_their_terms_share(built):
    data, sequences = built
    assert {one.id: one.value for one in data.records} == {
        name: own for name, own in sequences.items() if name != "Q00002"
    }
    labels = {one.id: one.label for one in data.records}
    assert data.classes == ("ligase", "transporter")
    assert list(labels.values()).count("ligase") == list(labels.values()).count("transporter") == 10
    assert labels["Q00001"] is None, "of two functions it has none"
    assert {labels[f"P{i:05}"] for i in range(2, 40, 3)} == {None}
    assert next(one for one in data.records if one.id == "P00000").payload["terms"] == "gluing"


def test_no_family_lies_in_two_splits(built):
    data, _ = built
    found = splits_of(data)
    assert all(found.values())
    assert most_shared(found["train"], found["val"] + found["test"]) < SHARED
    assert len({one.group for one in data.records}) < len(data)


def test_chains_have_a_state_for_every_residue_and_the_contacts_of_their_atoms(tmp_path):
    folder = tmp_path / "packages/mdanalysistests-2.11.0/MDAnalysisTests/data/dssp"
    folder.mkdir(parents=True)
    for number in range(8):
        sequence = made_up(number, 20)
        (folder / f"{number}abcA.pdb.gz").write_bytes(gzip.compress(pdb(sequence)))
        (folder / f"{number}abcA.pdb.dssp").write_text(f"{'-' * 5}{'H' * 10}{'E' * 5} {number}abcA.pdb\n")
    target = tmp_path / "data/chains"
    target.mkdir(parents=True)
    chains.build({"MDAnalysisTests": tmp_path / "packages"}, target)
    data = open_dataset("chains", data=tmp_path / "data")
    assert len(data) == 8
    for i, record in enumerate(data.records):
        chain = data.read(i, READER)
        assert chain.sequence == made_up(i, 20)
        assert record.payload["states"] == "CCCCCHHHHHHHHHHEEEEE"
        real = np.zeros((20, 20), bool)
        real[tuple(np.array(json.loads(record.payload["contacts"])).T)] = True
        np.testing.assert_array_equal(real, np.triu(chain.contacts(), 1))
    assert {one.split for one in data.records} == {"train", "val", "test"}


def test_peptides_are_each_taken_once_and_not_if_they_are_said_to_be_both(tmp_path):
    file = tmp_path / "packages/modlamp/data/AMPvsUniProt.csv"
    file.parent.mkdir(parents=True)
    several = [(made_up(i, 20), i % 2) for i in range(30)]
    lines = [*several, several[0], (several[1][0], 0), (changed(several[2][0], 11), 0)]
    file.write_text("\n".join(["33,1,UniProt,AMP", *(f"{sequence}, {label}" for sequence, label in lines)]))
    target = tmp_path / "data/peptides"
    target.mkdir(parents=True)
    peptides.build({"modlamp": tmp_path / "packages"}, target)
    data = open_dataset("peptides", data=tmp_path / "data")
    labels = {one.value: one.label for one in data.records}
    assert len(labels) == len(data) == 30
    assert several[1][0] not in labels
    assert labels[several[3][0]] == "antimicrobial"
    found = splits_of(data)
    assert most_shared(found["train"], found["val"] + found["test"], word=peptides.WORD) < peptides.SHARED


def test_a_fasta_file_is_a_data_set_of_its_records(tmp_path):
    file = tmp_path / "mine.fasta"
    file.write_text("".join(f">one{i}\n{made_up(i)}\n" for i in range(6)) + ">bad\nMK4\n>copy\n" + made_up(0).lower())
    data = open_dataset(str(file), data=tmp_path)
    assert (data.name, data.modality, len(data)) == ("mine", "protein", 7)
    [(id, reason)] = data.skipped
    assert id == "bad"
    assert "which is no residue" in reason
    groups = {one.id: one.group for one in data.records}
    assert groups["one0"] == groups["copy"]
    assert len(set(groups.values())) == 6
