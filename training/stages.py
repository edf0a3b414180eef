"""What each verb of a recipe does: one function each, from a stage and its run to figures."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch

from training import methods
from training.adaptation import fine_tune, linear
from training.data.dataset import Dataset
from training.encoders import Encoder, build, load_encoder, load_pretrained, save_encoder
from training.evaluation import Subject
from training.loop import fit
from training.methods import Item
from training.probes import LiveProbe
from training.recipe import Adapt, Evaluate, Export, Pretrain
from training.run import Run
from training.schedule import train_config

NO_LABELS = "what needs labels: the data has fewer than two classes, or too few items of them"
PROBE_ITEMS = 1000  # of each split: enough for a live accuracy within about 3 points


def pretrain(stage: Pretrain, run: Run) -> dict[str, Any]:
    torch.manual_seed(run.seed)
    method = methods.get(stage.method).build(fresh_encoder(run), stage.config, run.modality.preprocess)
    folder = run.folder(stage.name)
    probe = live_probe(run)
    items = Items(run, run.dataset.split("train"))
    figures = fit(method, items, train_config(stage.train), folder, seed=run.seed, probe=probe, threads=run.threads)
    save(method.encoder, run, stage.name)
    return figures


def adapt(stage: Adapt, run: Run) -> dict[str, Any]:
    encoder = load_or_fresh(stage, run)
    subject = Subject(encoder, run)
    if not subject.has_labels:
        return {"skipped": NO_LABELS}
    if stage.adaptation == "fine_tune":
        folder = run.folder(stage.name)
        tuner = fine_tune.FineTune(encoder, len(run.dataset.classes), run.modality.preprocess)
        settings = train_config(stage.train)
        items = Items(run, subject.data("train"))
        trained = fit(tuner, items, settings, folder, seed=run.seed, probe=None, threads=run.threads)
        save(tuner.encoder, run, stage.name)
        return trained | fine_tune.judge(tuner, Subject(tuner.encoder, run))
    return linear.fit_head(subject, run.folder(stage.name))


def evaluate(stage: Evaluate, run: Run) -> dict[str, Any]:
    subject = Subject(load_or_fresh(stage, run), run)
    figures: dict[str, Any] = {}
    for name in stage.evaluations:
        evaluation = import_module(f"training.evaluation.{name}")
        if evaluation.NEEDS_LABELS and not subject.has_labels:
            figures["skipped"] = NO_LABELS
            continue
        found = evaluation.evaluate(subject)
        figures |= {f"{name}_{key}" if key != name else key: value for key, value in found.items()}
    return figures


def export(stage: Export, run: Run) -> dict[str, Any]:
    # By name: the gate lives in a room above this one.
    report: dict[str, Any] = import_module("export.commands").export_stage(run.path, stage.bundle, stage.needs)
    return report


VERBS: dict[str, Callable[[Any, Run], dict[str, Any]]] = {
    "pretrain": pretrain,
    "adapt": adapt,
    "evaluate": evaluate,
    "export": export,
}


class Items(Sequence[Item]):
    """The decoded items of a split with their label numbers, read when asked for."""

    def __init__(self, run: Run, data: Dataset):
        self._data, self._modality, self._labels = data, run.modality, data.labels()

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        return Item(self._data.read(index, self._modality), int(self._labels[index]), index)


def fresh_encoder(run: Run) -> Encoder:
    facts = run.recipe.encoder
    torch.manual_seed(run.seed)
    encoder = build(facts.name, facts.config, run.modality.preprocess.size)
    if facts.pretrained:
        load_pretrained(encoder, facts.pretrained)
    return encoder


def load_or_fresh(stage: Any, run: Run) -> Encoder:
    """The needed stage's encoder; without one, random weights: the baseline of every comparison."""
    folder = run.encoder_folder(stage)
    return load_encoder(folder) if folder else fresh_encoder(run).eval()


def save(encoder: Encoder, run: Run, stage: str) -> None:
    facts = run.recipe.encoder
    save_encoder(encoder, run.folder(stage), name=facts.name, config=facts.config, size=run.modality.preprocess.size)


def live_probe(run: Run) -> LiveProbe:
    """Looks at a part of train and validation while training."""
    subject = Subject(None, run)
    train = subject.prepared("train", PROBE_ITEMS)
    if not subject.has_labels:
        return LiveProbe(train)
    val, labels = subject.prepared("val", PROBE_ITEMS), [subject.labels(s)[:PROBE_ITEMS] for s in ("train", "val")]
    return LiveProbe(train, (labels[0], val, labels[1]))
