"""Encoder and head fitted to counts of visits of the time to come; intervals are those of validation.

The head is a new one: that of pretraining is discarded (Kumar et al. 2023, SANSformers, arXiv:2108.13672). What is
counted is what the needed pretraining counts, unless the configuration says otherwise.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from enfold.tasks import Prepared
from enfold.tasks.estimate import Estimate, EstimateOptions, EstimateSpec, dispersions
from training.artefacts import Items, save
from training.evaluation import Subject
from training.heads import run_by, save_head
from training.loop import fit
from training.methods import Item
from training.methods.sansformers import SANSformers
from training.probes import features
from training.recipe import Adapt, Pretrain
from training.run import Run
from training.schedule import train_config

NEEDS_LABELS = False


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    assert subject.encoder is not None
    torch.manual_seed(run.seed)
    needed = (one for one in run.recipe.stage if isinstance(one, Pretrain) and one.name in stage.needs)
    config = {name: value for one in needed for name, value in one.config.items()} | stage.config
    tuner = SANSformers.build(subject.encoder, config, run.modality.preprocess, reader=run.modality)
    folder, settings = run.folder(stage.name), train_config(stage.train)
    items = Items(run, subject.data("train"))
    trained = fit(tuner, items, settings, folder, seed=run.seed, probe=None, threads=run.threads)
    save(tuner.encoder, run, stage)
    tuner.eval()
    rates, counts = _of(tuner, Items(run, subject.data("val")))
    spec = {"dispersions": dispersions(np.exp(rates), counts).tolist()}
    save_head(folder, tuner.head, spec=spec)
    embeddings, counts = _embedded(tuner, Items(run, subject.data("test")))
    task = Estimate(EstimateSpec(**tuner.head.spec(), **spec), Path())
    graphs = run_by(tuner.head.graphs(tuner.encoder, {}))
    answers = task.run(graphs, Prepared([], {"out_embedding": embeddings}), EstimateOptions())
    truth = [dict(zip(tuner.config.names, row, strict=True)) for row in counts.tolist()]
    return trained | task.measure(answers, truth)


def _of(tuner: SANSformers, items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray]:
    """Log rates and counts [N, K]."""
    embeddings, counts = _embedded(tuner, items)
    with torch.inference_mode():
        rates: np.ndarray = tuner.head(torch.from_numpy(embeddings)).numpy()
    return rates, counts


def _embedded(tuner: SANSformers, items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N, D] and counts [N, K], on one day of each person who is followed for long enough."""
    made = [
        tuner.example(items[index], np.random.default_rng(index))
        for index in range(len(items))
        if len(tuner.days(items[index].value))
    ]
    stacked = {name: np.stack([one[name] for one in made]) for name in made[0]}
    counts = stacked.pop("counts")
    return features(tuner.encoder, stacked), counts
