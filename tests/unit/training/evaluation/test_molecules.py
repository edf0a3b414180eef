"""Values and distances fitted, views that find each other, the floor of fingerprints: on a manifest of one's own."""

import json
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from enfold import settings
from enfold.errors import WrongUse
from training import recipe
from training.adaptation.regress import training_items, truth, with_values
from training.artefacts import needed_encoder
from training.data.builders.molecules import in_space
from training.evaluation import Subject, distances, fingerprint_ridge, regression, view_retrieval
from training.heads import load_head
from training.recipe import Adapt, Evaluate
from training.run import Run

ENDS = ("O", "N", "C#N", "C(=O)O", "Cl", "OC", "C=O", "F", "S", "Br")


def manifest(folder: Path) -> Path:
    """Chains of three to twelve carbons with one end each: each link makes them boil 20 kelvin later."""
    folder.mkdir()
    lines = []
    for number in range(100):
        links, end = 3 + number % 10, ENDS[number // 10]
        mol = Chem.MolFromSmiles("C" * links + end)
        split = ("train", "train", "val", "test")[number % 4]
        value = {"boiling_point": 300 + 20 * links} if number % 9 else {}
        row = {"id": f"m{number}", "molecule": in_space(mol), "split": split, "formula": f"C{links}", **value}
        lines.append(json.dumps(row))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def run(tmp_path_factory, module_home: Path) -> Run:
    source = manifest(tmp_path_factory.mktemp("chains") / "chains")
    overrides = [f"data.source={source}", "stage.boiling.train.steps=100", "stage.boiling.config.items=40"]
    facts = recipe.load("moleblend", smoke=True, overrides=overrides)
    made = Run(
        facts.model_copy(update={"stage": tuple(one for one in facts.stage if one.verb != "export")}), settings.load()
    )
    made.carry_out()
    return made


@pytest.fixture(scope="module")
def module_home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("ENFOLD_HOME", str(home))
        patch.setenv("ENFOLD_THREADS", "1")
        yield home


def subject_of(run: Run, name: str) -> Subject:
    stage = next(one for one in run.recipe.stage if one.name == name)
    return Subject(needed_encoder(stage, run), run.seen_by(stage), run.dataset, stage)


def figures_of(run: Run, stage: str) -> dict[str, float]:
    found: dict[str, float] = json.loads((run.folder(stage) / "done.json").read_bytes())["figures"]
    return found


def test_values_are_learnt_from_those_that_have_them_and_kept_in_their_unit(run):
    stage = next(one for one in run.recipe.stage if isinstance(one, Adapt))
    subject = subject_of(run, "boiling")
    taken = training_items(stage, run, subject)
    assert len(taken) == 40
    assert all("boiling_point" in one.payload for one in taken.records)
    figures = figures_of(run, "boiling")
    spread = np.std(
        [one["boiling_point"] for one in truth(with_values(run.dataset, ["boiling_point"]), ["boiling_point"])]
    )
    assert figures["rmse"] < 0.7 * spread
    assert figures["r2"] > 0.4
    saved = load_head(run.folder("boiling"), subject_of(run, "flat").encoder)
    assert saved.spec["units"] == ["K"]
    assert len(saved.spec["errors"][0]) == 50
    assert 300 < saved.head.mean.item() < 600


def test_bonds_alone_and_places_alone_are_judged_by_the_same_head(run):
    flat, placed = (regression.evaluate(subject_of(run, name)) for name in ("flat", "placed"))
    assert flat["rmse"] == pytest.approx(figures_of(run, "flat")["regression_rmse"])
    assert flat["rmse"] != placed["rmse"]


def test_fingerprints_with_a_ridge_are_the_floor(run):
    found = fingerprint_ridge.evaluate(subject_of(run, "flat"))
    assert found.keys() == {"rmse", "r2"}
    assert found["r2"] > 0.5, "counts of links tell it all"
    stage = next(one for one in run.recipe.stage if isinstance(one, Evaluate) and one.name == "flat")
    needless = Subject(None, run, run.dataset, stage.model_copy(update={"needs": ()}))
    with pytest.raises(WrongUse, match="let it need that stage"):
        fingerprint_ridge.evaluate(needless)


def test_views_find_each_other_among_molecules_of_the_same_formula_first(run):
    found = view_retrieval.evaluate(subject_of(run, "retrieval"))
    assert found.keys() == {"r1", "r5", "back_r1", "isomers", "chance"}
    assert found["chance"] == 1 / 25
    assert found["isomers"] == 1
    assert view_retrieval.rivals(["a", "b", "c", "b", "a", "b"]).tolist() == [1, 3, 5, 0, 4, 2]


def test_distances_are_told_by_bonds_alone_beside_what_is_usual_at_so_many(run):
    subject = subject_of(run, "distances_judged")
    found = distances.evaluate(subject)
    assert found["mae"] == pytest.approx(figures_of(run, "distances_judged")["distances_mae"])
    assert found["mae"] < 1.5 * found["by_hops"] < 1.5, "after few steps it knows little more"
    head = load_head(run.folder("distances"), subject.encoder).head
    assert (head.mean[3:].diff() > 0)[:6].all(), "what is more bonds away lies farther"
    assert head.mean[2] == pytest.approx(1.5, abs=0.1)
    with pytest.raises(WrongUse, match="let it need a stage that fits them"):
        distances.evaluate(subject_of(run, "flat"))


def test_a_value_that_nobody_has_is_told(run):
    with pytest.raises(WrongUse, match="has a 'melting_point': name columns"):
        with_values(run.dataset, ["boiling_point", "melting_point"])
    with pytest.raises(WrongUse, match="is no number"):
        truth(run.dataset, ["formula"])
