"""Molecules over HTTP: however one is sent it is one; values, distances; SMILES and SDF as sources; errors told."""

import re

import numpy as np
import pytest
from rdkit import Chem

from tests import bundles
from tests.examples import ASPIRIN, folded, sdf
from tests.servers import start, stop, until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("formulas")
    bundles.molecule_bundle(home / "bundles")
    running = start(home, "formulas")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


def embedded(http, *items):
    answer = http.post("/embed", json={"items": [{"molecule": item} for item in items]})
    assert answer.status_code == 200, answer.text
    return [row["vector"] for row in answer.json()["vectors"]]


def test_a_formula_a_block_and_a_file_get_the_same_vector_whichever_way_they_are_written(http):
    flat = Chem.MolToMolBlock(folded(ASPIRIN, flat=True))
    ways = [ASPIRIN, "O=C(O)c1ccccc1OC(C)=O", f"{ASPIRIN} aspirin", {"smiles": ASPIRIN}, flat, {"block": flat}]
    vectors = embedded(http, *ways, f"{ASPIRIN}.[Na+].[Cl-]")
    form = http.post(
        "/embed", files=[("molecule", ("a.mol", flat.encode())), ("molecule", ("a.smi", ASPIRIN.encode()))]
    )
    for vector in (*vectors[1:], *(row["vector"] for row in form.json()["vectors"])):
        np.testing.assert_array_equal(vector, vectors[0])


def test_bonds_alone_places_alone_and_both_are_three_looks_at_one_molecule(http):
    space = sdf(folded(ASPIRIN)).decode()
    both, flat, placed = embedded(http, *({"block": space, "views": views} for views in ("both", "2d", "3d")))
    np.testing.assert_array_equal(flat, embedded(http, ASPIRIN)[0])
    np.testing.assert_array_equal(both, embedded(http, space)[0])
    assert not np.allclose(placed, flat)
    assert not np.allclose(placed, both)


def related(http, item):
    answer = http.post("/predict", json={"items": [{"molecule": item}], "task": "relations"})
    assert answer.status_code == 200, answer.text
    [found] = answer.json()["answers"]
    return found


@pytest.mark.parametrize(
    ("molecule", "atoms"),
    [
        ("CC(N)O", ["C1", "C2", "N3", "O4"]),
        ("NC(C)O", ["N1", "C2", "C3", "O4"]),
        ("[H]OC(C)N", ["O2", "C3", "C4", "N5"]),
        ("[Na+].CC(N)[O-]", ["C2", "C3", "N4", "O5"]),
    ],
)
def test_distances_stand_in_the_order_in_which_the_atoms_were_written(http, molecule, atoms):
    """The bundle tells an ångström for each bond between two atoms."""
    found = related(http, molecule)
    assert found["atoms"] == atoms
    distances, middle = np.array(found["distances"]), [one.startswith("C") for one in atoms]
    np.testing.assert_array_equal(distances, distances.T)
    centre = next(i for i, row in enumerate(distances) if sorted(row) == [0, 1, 1, 1])
    assert middle[centre]
    assert set(distances[np.arange(4) != centre][:, np.arange(4) != centre].ravel()) == {0, 2}
    assert related(http, "C") == {"atoms": ["C1"], "distances": [[0]]}


def test_places_of_an_item_are_not_looked_at_and_their_view_alone_is_refused(http):
    space = sdf(folded("CC(N)O")).decode()
    assert related(http, space)["distances"] == related(http, "CC(N)O")["distances"]
    item = {"molecule": {"block": space, "views": "3d"}}
    answer = http.post("/predict", json={"items": [item], "task": "relations"})
    assert answer.status_code == 422
    assert "told from bonds" in answer.json()["detail"]


def test_a_value_comes_with_its_unit_and_an_interval_that_widens_with_coverage(http):
    widths = []
    for coverage in (0.5, 0.9):
        asked = {"items": [{"molecule": "CCO"}], "task": "regress", "options": {"coverage": coverage}}
        [found] = http.post("/predict", json=asked).json()["answers"]
        [one] = found["values"]
        assert (one["name"], one["unit"]) == ("boiling_point", "K")
        assert one["low"] <= one["value"] <= one["high"]
        widths.append(one["high"] - one["low"])
    assert widths == pytest.approx([0, 80])


@pytest.mark.parametrize("kind", ["sdf", "smi", "csv"])
def test_a_source_of_many_fills_a_collection_in_which_a_molecule_finds_itself(http, server, tmp_path, kind):
    file = tmp_path / f"three.{kind}"
    if kind == "sdf":
        file.write_bytes(sdf(folded("CCO", "alcohol"), folded("c1ccccc1", "benzene")) + b"broken\n\n$$$$\n")
    elif kind == "smi":
        file.write_text("CCO alcohol\nc1ccccc1 benzene\nC1CC broken\n")
    else:
        file.write_text("id,molecule,price\nalcohol,CCO,3\nbenzene,c1ccccc1,4\nbroken,C1CC,5\n")
    with server.client() as client:
        job = client.start_job("embed", source=str(file), model="formulas", to=f"index://of-{kind}")
        until(lambda: client.job(job.id).state in ("done", "failed"), 60)
        assert client.collection(f"of-{kind}").points == 2, client.job(job.id).log
        asked = sdf(folded("c1ccccc1")).decode() if kind == "sdf" else "C1=CC=CC=C1"
        best = client.search(f"of-{kind}", item=asked, modality="molecule", limit=1).hits[0]
        assert best.payload["item"] == "benzene"
        assert client.thumbnail(f"of-{kind}", best.id)[8:12] == b"WEBP"
        assert b"benzene" in client.original(f"of-{kind}", best.id) or kind == "csv"


@pytest.mark.parametrize(
    ("molecule", "sentence"),
    [
        ("", "the SMILES is empty"),
        ("C1CC", "cannot read the SMILES 'C1CC'"),
        ("C(C)(C)(C)(C)C", "greater than permitted"),
        ("C" * 10_000, "10,000 letters"),
        ("C*", "without an element"),
        ("CCO\nCCN", "has 2 lines"),
        (sdf(folded("CCO"), folded("CCN")).decode(), "holds 2 records"),
        (sdf(folded("CCO")).decode()[:120], "cannot read the mol block"),
        ({"smiles": "CCO", "views": "3d"}, "no coordinates in space"),
        ({"smiles": "CCO", "coordinates": [[0, 0, 0]]}, "three numbers each"),
        ({"smiles": "CC", "coordinates": [[0, 0, 0], [1e99, 0, 0]]}, "not finite"),
        ({"smiles": 3}, "a text, not int"),
        ([1], "a text or an object, not list"),
    ],
)
def test_what_makes_no_sense_gets_a_4xx_with_its_sentence(http, molecule, sentence):
    answer = http.post("/embed", json={"items": [{"molecule": molecule}], "all_or_nothing": True})
    assert 400 <= answer.status_code < 500, answer.text
    assert re.search(sentence, answer.json()["detail"]), answer.json()["detail"]


def test_coordinates_that_are_no_numbers_of_json_are_refused_too(http):
    body = (
        '{"items": [{"molecule": {"smiles": "CC", "coordinates": [[0, 0, 0], [NaN, 0, 0]]}}], "all_or_nothing": true}'
    )
    answer = http.post("/embed", content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text


def test_the_schema_shows_what_a_value_is(http):
    known = http.get("/openapi.json").json()["components"]["schemas"]
    assert set(known["Regressed"]["properties"]) == {"name", "value", "unit", "low", "high"}
    assert set(known["RelationsAnswer"]["properties"]) == {"atoms", "distances"}
