"""Molecules: however one is written it is the same; what lies between its atoms; records of SDF; what is refused."""

import json
import os
import subprocess
import sys
from itertools import combinations, product

import numpy as np
import pytest
from rdkit import Chem

from enfold import modalities
from enfold.errors import BadItem, TooLarge
from enfold.modalities.molecule import FARTHEST, FEATURES, Molecule, MoleculePreprocess, drawing, shade
from tests.examples import ASPIRIN, folded, sdf

READER = Molecule(MoleculePreprocess())


def block_of(count: int, bonds: list[tuple[int, int]]) -> str:
    """A mol block of so many atoms of uranium, which RDKit lets have any number of neighbours."""
    lines = ["", "", "", "  0  0  0     0  0            999 V3000", "M  V30 BEGIN CTAB"]
    lines += [f"M  V30 COUNTS {count} {len(bonds)} 0 0 0", "M  V30 BEGIN ATOM"]
    lines += [f"M  V30 {i + 1} U {i} 0 0 0" for i in range(count)] + ["M  V30 END ATOM", "M  V30 BEGIN BOND"]
    lines += [f"M  V30 {k + 1} 1 {one + 1} {other + 1}" for k, (one, other) in enumerate(bonds)]
    return "\n".join([*lines, "M  V30 END BOND", "M  V30 END CTAB", "M  END"])


def crowd(count: int) -> str:
    """Every atom beside every other: looking for its rings took a minute for sixty."""
    return block_of(count, list(combinations(range(count), 2)))


def cage(side: int) -> str:
    """Two grids, one on the other."""
    places = list(product(range(side), range(side), range(2)))
    near = [
        pair
        for pair in combinations(range(len(places)), 2)
        if np.abs(np.subtract(*np.take(places, pair, 0))).sum() == 1
    ]
    return block_of(len(places), near)


def arrays(item, views="both"):
    reader = Molecule(MoleculePreprocess(views=views))
    return reader.prepare(reader.read(item))[0].arrays


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CCO", "OCC"),
        ("CCO", "[H]OC([H])([H])C([H])([H])[H]"),
        ("C1=CC=CC=C1C", "Cc1ccccc1"),
        ("F/C=C/Cl", "Cl\\C=C\\F"),
        ("C[C@H](N)C(=O)O", "OC(=O)[C@@H](N)C"),
        ("CC(=O)[O-].[Na+]", "CC(=O)[O-]"),
        ("CCO ethanol", {"smiles": "OCC", "name": "ethanol"}),
    ],
)
def test_a_molecule_is_the_same_however_it_is_written(one, other):
    same(arrays(one), arrays(other))
    assert READER.mark(READER.read(one)) == READER.mark(READER.read(other))


@pytest.mark.parametrize(
    ("one", "other"), [("CCO", "CCN"), ("F/C=C/Cl", "F/C=C\\Cl"), ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O")]
)
def test_others_and_mirror_images_are_not(one, other):
    assert READER.mark(READER.read(one)) != READER.mark(READER.read(other))
    found, wanted = arrays(one), arrays(other)
    assert any((found[name] != wanted[name]).any() for name in found)


def test_atoms_bonds_and_ways_are_those_of_the_formula():
    """Acetic acid: of the way from methyl to an oxygen both bonds are told, the first one single."""
    value = READER.read("CC(=O)O")
    given = READER.prepare(value)[0].arrays
    assert (given["atoms"] > 0).all()
    assert (given["atoms"] < FEATURES).all()
    element, hydrogens = given["atoms"][:, 0], given["atoms"][:, 3] - 1
    methyl, [double] = int(np.flatnonzero(hydrogens == 3)[0]), np.flatnonzero((element == 8) & (hydrogens == 0))
    assert given["degrees"].tolist().count(4) == 1
    assert given["hops"][methyl, double] == 1 + 2
    assert given["hops"][methyl, methyl] == 1
    single, other = given["ways"][methyl, double, :2] - 1
    assert (single // 6, other // 6) == (0, 1)
    assert not given["ways"][methyl, double, 2:].any()
    np.testing.assert_array_equal(given["hops"][:, :4], given["hops"][:, :4].T)
    assert not given["hops"][:, 4:].any()


def test_hops_are_rdkits_distances_and_end_at_the_farthest():
    value = READER.read("C" * 15 + "C1CCC2CCCCC2C1")
    wanted = Chem.GetDistanceMatrix(Chem.MolFromSmiles(value.smiles))
    found, ways = value.relations(np.arange(len(value.atoms)))
    assert sorted(found.ravel()) == sorted((1 + np.minimum(wanted, FARTHEST)).ravel())
    assert found.max() == 1 + FARTHEST
    assert ((ways > 0).sum(2) == np.minimum(found - 1, 5)).all()


def test_a_file_in_space_has_both_views_and_either_alone():
    space = sdf(folded(ASPIRIN, "aspirin"))
    both, flat, placed = (arrays(space, views) for views in ("both", "2d", "3d"))
    for name in ("degrees", "hops", "ways"):
        np.testing.assert_array_equal(both[name], flat[name])
        assert not placed[name].any()
    for name in ("placed", "places"):
        np.testing.assert_array_equal(both[name], placed[name])
        assert not flat[name].any()
    same(flat, arrays(ASPIRIN))
    wish = json.dumps({"block": space.decode(), "views": "3d"})
    same(placed, arrays(wish))
    assert READER.words(READER.read(space)) == "aspirin"


def test_what_is_drawn_on_paper_has_no_places():
    block = Chem.MolToMolBlock(folded(ASPIRIN, flat=True))
    assert READER.read(block).places is None
    with pytest.raises(BadItem, match="no coordinates in space"):
        arrays(block, "3d")


def test_an_xyz_file_and_places_beside_a_smiles_are_the_molecule_of_the_sdf():
    mol = folded(ASPIRIN)
    heavy = Chem.RemoveHs(mol)
    written = Chem.MolToSmiles(heavy)
    order = json.loads(heavy.GetProp("_smilesAtomOutputOrder").replace(",]", "]"))
    given = {"smiles": written, "coordinates": heavy.GetConformer().GetPositions()[order].tolist()}
    wanted, found = READER.read(sdf(mol)), READER.read(given)
    assert READER.read(Chem.MolToXYZBlock(mol)).smiles == wanted.smiles == found.smiles
    for other in (found, READER.read(Chem.MolToXYZBlock(mol))):
        apart = [np.linalg.norm(one.places[:, None] - one.places, axis=2) for one in (wanted, other)]
        np.testing.assert_allclose(np.sort(apart[0], None), np.sort(apart[1], None), atol=1e-3)


def test_a_smiles_says_which_sides_are_known_and_a_file_in_space_has_them_all():
    mol = folded("C[C@H](N)C(=O)O")
    assert READER.read(sdf(mol)).smiles == "C[C@H](N)C(=O)O"
    assert READER.read(Chem.MolToXYZBlock(mol)).smiles == "C[C@H](N)C(=O)O"
    heavy = Chem.RemoveHs(mol)
    given = {"smiles": "CC(N)C(=O)O", "coordinates": heavy.GetConformer().GetPositions().tolist()}
    assert READER.read(given).smiles == "CC(N)C(=O)O"


def test_of_a_salt_the_largest_component_is_kept_with_its_places():
    mol = folded("CC(=O)[O-].[Na+]")
    value = READER.read(sdf(mol))
    assert value.smiles == "CC(=O)[O-]"
    assert value.places.shape == (4, 3)
    assert READER.read("[Fe+2].[Cl-].[Cl-]").smiles == "[Fe+2]"


def test_a_large_molecule_is_cut_into_pieces_of_neighbours():
    reader = Molecule(MoleculePreprocess(max_atoms=8))
    value = reader.read("C" * 20)
    samples = reader.prepare(value, parts=True)
    assert [reader.cost(sample) for sample in samples] == [8, 8, 4]
    [first] = reader.prepare(value)
    for name, values in first.arrays.items():
        np.testing.assert_array_equal(values, samples[0].arrays[name])
    assert first.part is None


def test_records_of_an_sdf_file_and_lines_of_smiles_are_items_by_their_names(tmp_path):
    file = tmp_path / "three.sdf"
    file.write_bytes(sdf(folded("CCO", "alcohol"), folded("CCN"), folded("c1ccccc1", "alcohol")))
    found = Molecule.records(file)
    assert [one.name for one in found] == ["alcohol", "record", "alcohol 3"]
    assert [READER.read(one).smiles for one in found] == ["CCO", "CCN", "c1ccccc1"]
    assert all(READER.read(one).places is not None for one in found)
    lines = tmp_path / "three.smi"
    lines.write_text("CCO alcohol\n\nCCN\nc1ccccc1\tbenzene ring\n")
    found = Molecule.records(lines)
    assert [one.name for one in found] == ["alcohol", "CCN", "benzene ring"]
    assert [READER.read(one).smiles for one in found] == ["CCO", "CCN", "c1ccccc1"]
    for name, content in (("one.sdf", sdf(folded("CCO"))), ("one.smi", b"CCO\n"), ("one.xyz", b"1\n\nHe 0 0 0\n")):
        (tmp_path / name).write_bytes(content)
        assert not Molecule.records(tmp_path / name)


@pytest.mark.parametrize(
    ("item", "error", "sentence"),
    [
        ("C1CC", BadItem, "cannot read the SMILES 'C1CC'"),
        ("C(C)(C)(C)(C)C", BadItem, "atom # 0 C, 5, is greater than permitted"),
        ("C*", BadItem, "without an element"),
        ("", BadItem, "empty"),
        ("C" * 10_000, TooLarge, "10,000 letters"),
        ("[H]" * 501, TooLarge, "501 atoms"),
        (crowd(20), TooLarge, "an atom has 19 neighbours"),
        (crowd(40), TooLarge, "780 bonds"),
        (cage(11), TooLarge, "320 rings"),
        ("\n\n\n" + "1 1 1 C\n" * 10_000 + "M  END", TooLarge, "lines, too many"),
        ({"smiles": "CC", "coordinates": [[0, 0, 0]]}, BadItem, r"\[1, 3\] and the SMILES has 2 atoms"),
        ({"smiles": "CC", "coordinates": [[0, 0, 0], [1, 0, float("nan")]]}, BadItem, "not finite"),
        ({"smiles": "CC", "views": "3d"}, BadItem, "no coordinates in space"),
        ({"smiles": 3}, BadItem, "a text, not int"),
    ],
)
def test_what_is_wrong_is_told(item, error, sentence):
    with pytest.raises(error, match=sentence):
        READER.prepare(READER.read(item))


def test_a_name_can_be_stored_and_sent_whatever_json_holds():
    assert READER.read(b'{"smiles": "C", "name": "a\\ud800b"}').name == "a?b"
    with pytest.raises(BadItem, match="cannot make a molecule of it"):
        READER.read(b'{"smiles": "\\ud800"}')


def test_what_was_prepared_elsewhere_is_checked():
    batch = READER.collate([READER.prepare(READER.read(one))[0] for one in (ASPIRIN, "CCO")])
    for name, value, sentence in (
        ("hops", 12, "they are 0 to 11"),
        ("ways", -1, "they are 0 to 24"),
        ("placed", 2, "they are 0 to 1"),
        ("atoms", 200, "features below"),
    ):
        with pytest.raises(BadItem, match=sentence):
            READER.prepared(batch | {name: np.full_like(batch[name], value)})
    with pytest.raises(BadItem, match="nothing of it would be seen"):
        READER.prepared(batch | {"degrees": np.zeros_like(batch["degrees"])})
    with pytest.raises(BadItem, match="then padding"):
        READER.prepared(batch | {"atoms": batch["atoms"][:, ::-1]})
    with pytest.raises(BadItem, match=r"this model takes \[2, 13, 64\]"):
        READER.prepared(batch | {"hops": batch["hops"][:, :, :13]})


def test_rdkit_says_nothing_by_itself():
    """What it would print of bad molecules stands in errors instead."""
    words = "from enfold.modalities.molecule import *\nreader = Molecule(MoleculePreprocess())\n"
    words += "for bad in ('C1CC', 'c1cccc1', 'C(C)(C)(C)(C)C', 'x' * 9, '\\n\\n\\nV2000\\nM  END'):\n"
    words += "    try: reader.read(bad)\n    except BadItem: pass\n"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, env={**os.environ})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_molecule_is_found_by_its_suffix():
    assert [modalities.of_path(f"a{end}") for end in (".sdf", ".mol", ".smi", ".smiles")] == ["molecule"] * 4
    assert modalities.of_path("a.xyz") == "points"
    assert modalities.of_path("a.xyz", among=["molecule"]) == "molecule"


def test_a_drawing_shows_elements_in_their_colours_and_is_the_same_every_time():
    picture = np.asarray(drawing(READER.read("OCCN"), 120))
    assert picture.shape == (120, 120, 3)
    for element in (7, 8):
        ink = np.array([int(shade(element)[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(picture.astype(int) - ink).max(2) < 40).sum() > 10
    np.testing.assert_array_equal(picture, np.asarray(drawing(READER.read("NCCO"), 120)))
    for odd in ("C", "[Fe+2]", "[13CH4]", "C#N", "O=[N+]([O-])c1ccccc1", "N[Pt](N)(Cl)Cl"):
        assert np.asarray(drawing(READER.read(odd), 96)).min() < 128
