"""Encoder and head fitted to numbers that stand beside the items; intervals are those of validation.

The error is squared, in units of each value's spread, on plain views (`training.views`). Items without a value take no
part.
"""
# N items, K values

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.tasks import Prepared
from enfold.tasks.regress import Regress, RegressOptions, RegressSpec, error_quantiles
from training.adaptation import Tuner
from training.artefacts import Items, save
from training.data.dataset import Dataset
from training.encoders import Encoder
from training.evaluation import Subject
from training.heads import SavedHead, run_by, save_head
from training.heads.values import Values, ValuesConfig
from training.loop import fit
from training.methods import Batch, Item, Losses
from training.probes import features
from training.recipe import Adapt, validated
from training.run import Run
from training.schedule import train_config
from training.views import Plain, plain

NEEDS_LABELS = False


class RegressConfig(ValuesConfig):
    items: int | None = Field(None, ge=1)  # of training, at most


class Regressor(Tuner):
    Config = RegressConfig
    config: RegressConfig
    head: Values
    view: Plain

    def __init__(self, encoder: Encoder, config: RegressConfig, preprocess: Any):
        super().__init__(encoder, config, preprocess)
        self.head = Values(encoder, ValuesConfig(units=config.units, dropout=config.dropout))

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """Its inputs, and its values [K], NaN where they are not known."""
        values = [float(item.payload.get(name, np.nan)) for name in self.config.units]
        return {**self.view(item.value, rng), "values": np.array(values, np.float32)}

    def forward(self, batch: Batch) -> Losses:
        inputs = {name: values for name, values in batch.items() if name != "values"}
        apart = (self.head(self.encoder(inputs).embedding) - batch["values"]) / self.head.spread
        return {"loss": F.mse_loss(apart.nan_to_num(), torch.zeros_like(apart))}


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    assert subject.encoder is not None
    torch.manual_seed(run.seed)
    tuner = Regressor.build(subject.encoder, stage.config, run.modality.preprocess)
    tuner.view = plain(run.modality)
    few = training_items(stage, run, subject)
    known = truth(few, tuner.config.units)
    for place, name in enumerate(tuner.config.units):
        own = np.array([one[name] for one in known if name in one])
        tuner.head.mean[place], tuner.head.spread[place] = float(own.mean()), max(float(own.std()), 1e-6)
    folder, settings = run.folder(stage.name), train_config(stage.train)
    trained = fit(tuner, Items(run, few), settings, folder, seed=run.seed, probe=None, threads=run.threads)
    save(tuner.encoder, run, stage)
    val = with_values(subject.data("val"), tuner.config.units)
    spec = {"errors": _errors(tuner.eval(), val, run)}
    save_head(folder, tuner.head, spec=spec)
    saved = SavedHead(tuner.head, tuner.head.spec() | spec, {})
    figures = {f"val_{name}": value for name, value in judged(saved, tuner.encoder, val, run).items()}
    test = with_values(subject.data("test"), tuner.config.units)
    return trained | {"items": len(few)} | judged(saved, tuner.encoder, test, run) | figures


def training_items(stage: Adapt, run: Run, subject: Subject) -> Dataset:
    """Those that have a value, so many of them as the stage takes."""
    config: RegressConfig = validated(RegressConfig, stage.config, f"stage '{stage.name}'")
    found = with_values(subject.data("train"), config.units)
    order = np.random.default_rng(run.seed).permutation(len(found))
    return found.subset(np.sort(order[: config.items]))


def with_values(data: Dataset, names: Collection[str]) -> Dataset:
    """The items that have one of the values. Raises WrongUse for a value that none has."""
    known = truth(data, names)
    if lacking := set(names) - {name for one in known for name in one}:
        raise WrongUse(f"no item of a split of '{data.name}' has a '{min(lacking)}': name columns of numbers as units")
    return data.subset([i for i, one in enumerate(known) if one])


def truth(data: Dataset, names: Collection[str]) -> list[dict[str, float]]:
    """The values of each item, those that it has. Raises WrongUse for what is no number."""
    try:
        return [{name: float(one.payload[name]) for name in names if name in one.payload} for one in data.records]
    except ValueError as error:
        raise WrongUse(f"a value of '{data.name}' is no number: {error}") from None


def judged(saved: SavedHead, encoder: Encoder, data: Dataset, run: Run) -> dict[str, float]:
    """The task's own figures on items, answered as a server would."""
    task = Regress(RegressSpec(**saved.spec), Path())
    prepared = Prepared([], {"out_embedding": features(encoder, data.inputs(run.modality))})
    answers = task.run(run_by(saved.head.graphs(encoder, {})), prepared, RegressOptions())
    return task.measure(answers, truth(data, task.spec.names))


def _errors(tuner: Regressor, val: Dataset, run: Run) -> list[tuple[float, ...]]:
    """Of each value the quantiles of its errors on validation."""
    with torch.inference_mode():
        told = tuner.head(torch.from_numpy(features(tuner.encoder, val.inputs(run.modality)))).tolist()
    pairs = list(zip(told, truth(val, tuner.config.units), strict=True))
    return [
        error_quantiles(np.array([abs(row[place] - one[name]) for row, one in pairs if name in one]))
        for place, name in enumerate(tuner.config.units)
    ]
