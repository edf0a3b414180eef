"""Molecules from a package as it is: what is taken, where its atoms lie, and scaffolds held out."""

from collections import Counter

import numpy as np
import pytest
from rdkit import Chem

from enfold.modalities.molecule import Molecule, MoleculePreprocess
from training.data.builders import molecules
from training.data.sources import open_dataset

READER = Molecule(MoleculePreprocess())
RINGS = ("c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccsc1", "C1CC1", "c1ccc2ccccc2c1", "C1CCNCC1")
SIDES = ("C", "O", "CC", "Cl", "C(=O)O", "N", "C#N", "OC")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Rings with sides and chains, and what is left out: salts, metals, large ones, deuterium, the same one twice."""
    home = tmp_path_factory.mktemp("molecules")
    folder = home / "packages/chemicals"
    for path in ("Identifiers", "Phase Change"):
        (folder / path).mkdir(parents=True)
    taken = [f"{ring}{side}" for ring in RINGS for side in SIDES] + ["C" * n + "O" for n in range(1, 12)]
    refused = ["CC(=O)[O-].[Na+]", "C[Hg]C", "C" * 21, "[2H]C([2H])[2H]", "O", "OC", "C1CC", "OC(Cc1ccccc1)*"]
    lines = [f"{i}\t{i}-00-0\tF\t1.0\t{smiles}\tI\tK\tname {i}" for i, smiles in enumerate(taken + refused)]
    large, small = molecules._FORMULAS
    (folder / large).write_text("\n".join(lines[:40]))
    (folder / small).write_text("\n".join(lines[40:]))
    points = [f"{i}-00-0\t{300.5 + i}" for i in range(0, len(taken), 2)]
    (folder / molecules._POINTS).write_text("\n".join(["CAS\tTb", *points, "1-00-0\t1769.15"]))
    (home / "data/molecules").mkdir(parents=True)
    molecules.build({"chemicals": home / "packages"}, home / "data/molecules")
    return open_dataset("molecules", data=home / "data"), taken


def test_organic_molecules_of_one_component_are_taken_once_with_what_is_known(built):
    data, taken = built
    wanted = Counter(Chem.CanonSmiles(one) for one in taken)
    found = [data.read(i, READER) for i in range(len(data))]
    assert Counter(one.smiles for one in found) == dict.fromkeys(wanted, 1)
    points = {one.id: one.payload.get("boiling_point") for one in data.records}
    assert (points["0-00-0"], points["2-00-0"]) == (300.5, 302.5)
    assert points["1-00-0"] is None, "beyond what boils"
    assert data.records[0].payload["title"] == found[0].name


def test_atoms_lie_as_far_apart_as_bonds_are_long(built):
    data, _ = built
    for i in range(0, len(data), 7):
        value = data.read(i, READER)
        for one, other, _ in value.bonds:
            assert 1.0 < np.linalg.norm(value.places[one] - value.places[other]) < 2.2


def test_no_scaffold_lies_in_two_splits_and_rare_ones_are_held_out(built):
    data, _ = built
    splits = {}
    for i, record in enumerate(data.records):
        scaffold = molecules.scaffold(Chem.MolFromSmiles(data.read(i, READER).smiles))
        assert (scaffold or "no rings") == record.group
        splits.setdefault(scaffold, set()).add(record.split)
    assert {len(own) for own in splits.values()} == {1}
    assert splits[""] == {"train"}, "the largest group"
    assert set().union(*splits.values()) == {"train", "val", "test"}


def test_a_scaffold_is_that_of_the_largest_component_whatever_its_mirror_image():
    for smiles, wanted in (
        ("OC(=O)c1ccccc1.C1CC1", "c1ccccc1"),
        ("[Na+].[O-]C(=O)CCc1ccncc1", "c1ccncc1"),
        ("C[C@H]1CCC[C@@H](O)C1", "C1CCCCC1"),
        ("CCO", ""),
    ):
        assert molecules.scaffold(Chem.MolFromSmiles(smiles)) == wanted


def test_shares_are_filled_by_size():
    groups = ["d", "a", "b", *"aaaaa", "b", "c"]
    assert molecules.by_size(groups) == ["test", "train", "val", *["train"] * 5, "val", "test"]


def test_what_has_no_conformer_is_left_out(monkeypatch):
    monkeypatch.setattr(molecules.rdDistGeom, "EmbedMolecule", lambda *arguments: -1)
    assert molecules.in_space(Chem.MolFromSmiles("CCO")) is None
