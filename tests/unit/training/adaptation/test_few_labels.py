"""Fine-tuning from a kept head layer on few labels, and distillation: the later steps of SimCLRv2."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from enfold import settings
from enfold.errors import WrongUse
from tests.unit.training import tiny
from tests.unit.training.test_stages import pictures
from training import recipe
from training.adaptation.distil import Distil, soft_cross_entropy
from training.artefacts import few_labels
from training.encoders import load_encoder
from training.heads import load_head
from training.heads.classifier import Classifier, ClassifierConfig
from training.recipe import Recipe
from training.run import Run

SMALL = ["stage.pretrain.train.batch=8", "stage.tune.train.batch=8", "stage.distil.train.batch=8"]


def three_steps(folder: Path, *more: str) -> Recipe:
    """Pretrain, tune and distil of the recipe, at its smoke size."""
    whole = recipe.load("simclrv2", smoke=True, overrides=[*SMALL, f"data.source={folder}", *more])
    return whole.model_copy(update={"stage": tuple(s for s in whole.stage if s.name in ("pretrain", "tune", "distil"))})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(three_steps(pictures(tmp_path / "two", ["one", "two"], 80)), settings.load())


def test_fine_tuning_starts_after_the_first_layer_of_the_projection_head(run: Run):
    """With a learning rate of nothing the tuned head's neck is that layer, tensor by tensor."""
    still = three_steps(Path(run.recipe.data.source), "stage.tune.train.lr=1e-30")
    run = Run(still.model_copy(update={"stage": still.stage[:2]}), settings.load())
    run.carry_out()
    pretrained = load_file(run.folder("pretrain") / "method.safetensors")
    tuned = load_file(run.folder("tune") / "head.safetensors")
    assert json.loads((run.folder("tune") / "head.json").read_bytes())["config"]["kept"] == [128]
    for name in ("0.weight", "1.weight", "1.bias"):
        torch.testing.assert_close(tuned[f"neck.0.{name}"], pretrained[f"projection.0.{name}"])
    assert "neck.1.0.weight" not in tuned


def test_the_teacher_is_bit_identical_before_and_after_distillation(run: Run):
    run.carry_out()
    before = {path: path.read_bytes() for path in run.folder("tune").glob("*.safetensors")}
    (run.folder("distil") / "done.json").unlink()
    (run.folder("distil") / "method.safetensors").unlink()
    run.carry_out()
    assert {path: path.read_bytes() for path in run.folder("tune").glob("*.safetensors")} == before
    assert not any("teacher" in name for name in load_file(run.folder("distil") / "method.safetensors"))


@pytest.mark.parametrize(("weight", "same"), [(0.0, True), (0.5, False)])
def test_true_labels_count_only_where_they_are_given_weight(weight: float, same: bool):
    distil = Distil.build(tiny.vit(), {"labelled_weight": weight}, tiny.PREPROCESS)
    labels, teacher = ClassifierConfig(labels=("a", "b", "c")), tiny.vit(dim=32)
    distil.head = Classifier(distil.encoder, labels)
    distil.teach(teacher, Classifier(teacher, labels), frozenset(range(4)))
    image = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    losses = [distil({"image": image, "label": torch.full((4,), label)})["loss"].item() for label in (0, 1)]
    assert (losses[0] == losses[1]) == same


def test_the_student_is_the_encoder_its_stage_names(run: Run):
    run.carry_out()
    assert load_encoder(run.folder("distil")).dim == 64
    assert load_encoder(run.folder("tune")).dim == 128
    head = load_head(run.folder("distil"), load_encoder(run.folder("distil"))).head
    assert head.config == ClassifierConfig(labels=("one", "two"))


def test_few_labels_are_balanced_and_nested_by_seed(run: Run):
    train = run.dataset.split("train")
    few = few_labels(train, 0.1, seed=0)
    counts = np.bincount(few.labels())
    assert (counts == np.maximum(1, np.round(0.1 * np.bincount(train.labels())))).all()
    assert few.fingerprint == few_labels(train, 0.1, seed=0).fingerprint
    assert few.fingerprint != few_labels(train, 0.1, seed=1).fingerprint
    assert {r.id for r in few.records} <= {r.id for r in few_labels(train, 0.5, seed=0).records}
    assert few_labels(train, None, seed=0) is train
    assert set(np.unique(few_labels(train, 3, seed=0).labels(), return_counts=True)[1]) == {3}
    assert len(few_labels(train, 10_000, seed=0)) == len(train)


def test_soft_cross_entropy_is_ordinary_against_a_certain_teacher():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    certain = 1e4 * F.one_hot(labels, 4).float()
    torch.testing.assert_close(soft_cross_entropy(logits, certain, temperature=1.0), F.cross_entropy(logits, labels))


def test_soft_cross_entropy_is_least_where_the_student_agrees():
    teacher = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    student = teacher.clone().requires_grad_()
    soft_cross_entropy(student, teacher, temperature=2.0).backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


def test_a_kept_layer_needs_a_head_to_keep_it_from(run: Run):
    alone = run.recipe.stage[1].model_copy(update={"needs": ()})
    with pytest.raises(
        WrongUse, match=r"stage 'tune' works on more of a method than its encoder: let it need a pretrain"
    ):
        Run(run.recipe.model_copy(update={"stage": (alone,)}), settings.load()).carry_out()
