"""Exporting a finished run: the right encoder and head, their lineage, and one sentence where a run has none."""

import json
import shutil

import numpy as np
import pytest

import enfold
from enfold import cli
from enfold.errors import UnknownName, WrongUse
from export.commands import export_run, export_stage
from export.draft import token_width
from tests.unit.export import drafts
from training.data.sources import open_dataset
from training.encoders import Encoded, Encoder


@pytest.fixture
def run(home, tmp_path):
    return drafts.run(home / "runs" / "tiny-1", drafts.photos(tmp_path / "photos"))


def test_a_run_becomes_a_bundle_that_embeds_and_predicts(run, tmp_path):
    exported = export_stage(run, "photos", ("pretrain", "classify"))
    assert (exported["bundle"], exported["version"]) == ("photos", 1)
    assert exported["fp32_cosine"] >= 0.99999
    assert exported["variants"][0] == "fp32"
    assert exported["space"].startswith("sp_")
    model = enfold.open("photos")
    assert model.facts().tokens == drafts.VIT["dim"]
    assert model.bundle.manifest.lineage.model_dump(exclude_defaults=True) == {
        "run": "tiny-1",
        "method": "gmml",
        "recipe": "r",
        "data": "f",
    }
    assert model.bundle.manifest.metrics == {"classify.accuracy": 0.5}
    photo = next((tmp_path / "photos").rglob("*.png"))
    assert np.linalg.norm(model.embed([photo]).vectors) == pytest.approx(1, abs=1e-6)
    [answer] = model.predict([photo])
    assert answer.label in ("blue", "green", "red")
    assert answer.ood is not None


@pytest.mark.parametrize(
    ("pretrained", "told"),
    [("minilm", "beginning at minilm (Apache-2.0)"), ("/some/where/bert", "beginning at bert (licence not stated)")],
)
def test_a_bundle_names_the_licence_of_the_weights_it_began_with(run, pretrained, told):
    recipe = json.loads((run / "recipe.json").read_bytes())
    recipe["encoder"]["pretrained"] = pretrained
    (run / "recipe.json").write_text(json.dumps(recipe))
    export_stage(run, "photos", ("pretrain", "classify"))
    assert enfold.open("photos").bundle.manifest.licence.endswith(told)


def test_the_command_takes_a_run_by_its_id(run, capsys):
    assert cli._run(["export", "tiny-1", "--name", "mine"], True) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["bundle"] == "mine"
    assert enfold.open("mine").bundle.manifest.tasks


@pytest.mark.parametrize(
    ("needs", "error", "sentence"),
    [
        (("pretrian",), UnknownName, "Did you mean 'pretrain'"),
        (("classify",), WrongUse, "has no encoder to export in classify"),
        ((), WrongUse, "has no encoder to export in no stage"),
        (("export",), WrongUse, "stage 'export' of run tiny-1 is not finished: enfold run tiny"),
    ],
)
def test_wrong_needs_are_told(run, needs, error, sentence):
    with pytest.raises(error, match=sentence):
        export_stage(run, "photos", needs)


def test_a_run_without_finished_stages_is_told(run, home, capsys):
    for done in run.rglob("done.json"):
        done.unlink()
    assert cli._run(["export", "tiny-1", "--name", "mine"], False) == 2
    assert "stage 'pretrain' of run tiny-1 is not finished" in capsys.readouterr().err
    assert not (home / "bundles").exists()


def test_a_head_of_another_encoder_is_refused(run):
    """Same width, other weights: nothing but the run's own story can tell."""
    recipe = json.loads((run / "recipe.json").read_bytes())
    recipe["stage"].insert(1, {"name": "longer", "verb": "pretrain", "method": "gmml"})
    (run / "recipe.json").write_text(json.dumps(recipe))
    shutil.copytree(run / "stages" / "pretrain", run / "stages" / "longer")
    with pytest.raises(WrongUse, match="the head of stage 'classify' was fitted on 'pretrain', not on 'longer'"):
        export_stage(run, "photos", ("longer", "classify"))


def test_a_head_on_the_tower_of_a_column_is_not_taken_for_the_items(run):
    recipe = json.loads((run / "recipe.json").read_bytes())
    recipe |= {"sides": {"other": {"modality": "image"}}}
    recipe["stage"][1]["side"] = "other"
    (run / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(WrongUse, match="the head of stage 'classify' was fitted on the tower of column 'other'"):
        export_stage(run, "photos", ("pretrain", "classify"))


def test_what_is_no_run_is_told(home, tmp_path):
    with pytest.raises(UnknownName, match="unknown run 'nothing'"):
        export_run("nothing", "mine")
    with pytest.raises(WrongUse, match="is not a run"):
        export_run(str(tmp_path), "mine")


def test_a_name_that_is_not_allowed_costs_no_work(run, home):
    with pytest.raises(WrongUse, match="bundle name 'My Bundle' is not allowed"):
        export_run("tiny-1", "My Bundle")
    assert not (home / "bundles").exists()


def test_a_bundle_names_the_data_that_its_own_stage_learnt_from(run, tmp_path):
    other, page = drafts.photos(tmp_path / "others", 66), run / "recipe.json"
    facts = json.loads(page.read_text())
    facts["stage"][0]["data"] = {"source": str(other)}
    page.write_text(json.dumps(facts))
    export_stage(run, "photos", ("pretrain",))
    lineage, found = enfold.open("photos").bundle.manifest.lineage, open_dataset(str(other), data=tmp_path)
    assert lineage.data == found.fingerprint != "f"


def test_only_tokens_that_are_all_real_have_a_width():
    class Masked(Encoder):
        def forward(self, inputs):
            return Encoded(inputs["x"], inputs["x"].mean(1), inputs["x"][..., 0] > 0)

    class Map(Encoder):
        def forward(self, inputs):
            return Encoded(inputs["x"][..., None], inputs["x"].mean(1))

    whole, padded = (np.array([[[1.0, 2.0], [last, 0.0]]], np.float32) for last in (1.0, 0.0))
    assert token_width(Masked(), {"x": whole}) == 2
    assert token_width(Masked(), {"x": padded}) is None
    assert token_width(Map(), {"x": whole}) is None
