"""What each verb of a recipe does: one function each, from a stage and its run to figures."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch

from training import methods
from training.artefacts import (
    Items,
    fresh_encoder,
    needed_encoder,
    needed_state,
    pool_of,
    save,
    taken_before,
    training_items,
    write_selected,
)
from training.data.dataset import Dataset
from training.encoders import TOWERS, save_encoder
from training.evaluation import Subject
from training.heads import save_head
from training.loop import fit
from training.probes import LiveProbe, features
from training.recipe import Adapt, Evaluate, Export, Pretrain, Select, validated
from training.run import Run
from training.schedule import train_config

NO_LABELS = "what needs labels: the data has fewer than two classes, or too few items of them"
PROBE_ITEMS = 1000  # of each split: enough for a live accuracy within about 3 points


def pretrain(stage: Pretrain, run: Run) -> dict[str, Any]:
    seed = run.seed_of(stage)
    torch.manual_seed(seed)
    encoder = fresh_encoder(run, stage)
    method = methods.get(stage.method).build(
        encoder, stage.config, run.modality.preprocess, run.sides, run.mixed, run.modality
    )
    if (state := needed_state(stage, run)) is not None:
        method.carry(state)
    others = [data.split("train") for data in run.mixed_data()]
    items, probe = Items(run, training_items(stage, run), *others), live_probe(run, run.data(stage))
    settings, folder = train_config(stage.train), run.folder(stage.name)
    figures = fit(method, items, settings, folder, seed=seed, probe=probe, threads=run.threads)
    save(method.encoder, run, stage)
    for side, (facts, tower) in method.towers().items():
        where, size = folder / TOWERS / side, run.sides[side].input_size
        save_encoder(tower, where, name=facts.name, config=facts.config, size=size)
    if (head := getattr(method, "task_head", None)) is None:
        return figures
    calibration = method.eval().calibrated(Items(run, run.data(stage).split("val")))
    save_head(folder, head, spec=calibration.spec, **calibration.resources)
    return figures | {name: value for name, value in calibration.spec.items() if not isinstance(value, str)}


def select(stage: Select, run: Run) -> dict[str, Any]:
    selection = import_module(f"training.selection.{stage.selection}")
    config = validated(selection.Config, stage.config, f"selection '{stage.selection}'")
    encoder, pool = needed_encoder(stage, run), pool_of(stage, run)
    target = features(encoder, run.data(stage).split("train").inputs(run.modality))
    rng = np.random.default_rng(run.seed)
    budget = stage.budget or taken_before(stage, run)
    found = selection.select(config, target, features(encoder, pool.inputs(run.modality)), budget=budget, rng=rng)
    chosen = pool.subset(found.chosen)
    write_selected(stage, run, chosen)
    shares = {name: _share(chosen, name) for name in stage.pool}
    gains = {f"gain_{name}": share / _share(pool, name) for name, share in shares.items()}
    figures = {"selected": len(chosen), "of": len(pool), "rounds": found.rounds, "trace": list(found.trace)}
    return figures | {f"share_{name}": share for name, share in shares.items()} | gains


def _share(data: Dataset, source: str) -> float:
    """Of items that come from a pool's source."""
    return sum(record.payload["source"] == source for record in data.records) / max(1, len(data))


def adapt(stage: Adapt, run: Run) -> dict[str, Any]:
    adaptation = import_module(f"training.adaptation.{stage.adaptation}")
    subject = Subject(needed_encoder(stage, run), run, run.data(stage))
    if getattr(adaptation, "NEEDS_LABELS", True) and not subject.has_labels:
        return {"skipped": NO_LABELS}
    torch.manual_seed(run.seed)
    figures: dict[str, Any] = adaptation.adapt(stage, run, subject)
    return figures


def evaluate(stage: Evaluate, run: Run) -> dict[str, Any]:
    subject = Subject(needed_encoder(stage, run), run, run.data(stage), stage)
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
    report: dict[str, Any] = import_module("export.commands").export_stage(
        run.path, stage.bundle, stage.needs, stage.sizes
    )
    return report


VERBS: dict[str, Callable[[Any, Run], dict[str, Any]]] = {
    "pretrain": pretrain,
    "select": select,
    "adapt": adapt,
    "evaluate": evaluate,
    "export": export,
}


def live_probe(run: Run, data: Dataset) -> LiveProbe:
    """Looks at a part of train and validation while training."""
    subject = Subject(None, run, data)
    train = subject.prepared("train", PROBE_ITEMS)
    if not subject.has_labels:
        return LiveProbe(train)
    val, labels = subject.prepared("val", PROBE_ITEMS), [subject.labels(s)[:PROBE_ITEMS] for s in ("train", "val")]
    return LiveProbe(train, (labels[0], val, labels[1]))
