"""The whole encoder with a head on pairs of atoms, fitted to where the atoms lie; it sees bonds alone.

Pretraining on blended views tells in which direction an atom lies from another, and not how far: this is fitted behind
it. The error is squared, in units of how much distances at so many bonds differ, so that near atoms count as far ones.
"""
# B molecules, N atoms, M at most

from typing import Any

import numpy as np
import torch

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from enfold.modalities.molecule import FARTHEST
from enfold.tasks.relations import between, unplaced
from training.adaptation import Tuner
from training.artefacts import Items, save
from training.data.dataset import Dataset
from training.encoders import Encoder
from training.encoders.transformer_m import trimmed
from training.evaluation import Subject
from training.heads import save_head
from training.heads.distances import Distances, DistancesConfig
from training.loop import fit
from training.methods import Batch, Item, Losses
from training.recipe import Adapt
from training.run import Run
from training.schedule import train_config
from training.views.molecule import filled

NEEDS_LABELS = False
MEASURED = 1000  # molecules that tell what is usual, at most
LEAST_SPREAD = 0.01  # ångström


class DistanceTuner(Tuner):
    Config = DistancesConfig
    head: Distances
    reader: Modality[Any]

    def __init__(self, encoder: Encoder, config: DistancesConfig, preprocess: Any):
        super().__init__(encoder, config, preprocess)
        self.head = Distances(encoder, config)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """Its inputs by bonds alone, and where its atoms lie, clean [M, 3]."""
        arrays = self.reader.prepare(item.value)[0].arrays
        if not arrays["placed"].all() or not arrays["degrees"].all():
            raise WrongUse(
                f"item {item.index} has no bonds or no coordinates, and distances are fitted to both: give every "
                'molecule both (preprocess.views = "both")'
            )
        return filled({**unplaced(arrays), "clean": arrays["places"]}, self.preprocess)

    def forward(self, batch: Batch) -> Losses:
        inputs = trimmed(batch)
        places = inputs.pop("clean")
        found = self.head(self.encoder(inputs).tokens, inputs["hops"], inputs["ways"])
        real = inputs["atoms"][:, :, 0] > 0
        pair = (real[:, :, None] & real[:, None]).triu(1)
        apart = found[pair] - (places[:, :, None] - places[:, None]).square().sum(3).sqrt()[pair]
        usual_apart = self.head.spread[inputs["hops"][:, :, : real.shape[1]][pair]]
        return {"loss": (apart / usual_apart).square().mean(), "mae": apart.abs().mean()}


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    assert subject.encoder is not None
    torch.manual_seed(run.seed)
    tuner = DistanceTuner.build(subject.encoder, stage.config, run.modality.preprocess)
    data, tuner.reader = subject.data("train"), subject.modality
    mean, spread = usual(data.subset(np.random.default_rng(run.seed).permutation(len(data))[:MEASURED]), tuner.reader)
    tuner.head.mean.copy_(torch.from_numpy(mean))
    tuner.head.spread.copy_(torch.from_numpy(spread))
    folder, settings = run.folder(stage.name), train_config(stage.train)
    trained = fit(tuner, Items(run, data), settings, folder, seed=run.seed, probe=None, threads=run.threads)
    save(tuner.encoder, run, stage)
    save_head(folder, tuner.head)
    return trained


def usual(data: Dataset, reader: Modality[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of distances by hops, float64 [FARTHEST + 2] each: of hops that no pair has, the nearest's."""
    hops, apart = [], []
    for i in range(len(data)):
        arrays = reader.prepare(data.read(i, reader))[0].arrays
        pairs = np.triu_indices(len(arrays["atoms"]), 1)
        hops.append(arrays["hops"][pairs])
        apart.append(between(arrays["places"])[pairs])
    known, which = np.unique(np.concatenate(hops), return_inverse=True)
    all_apart = np.concatenate(apart)
    if not len(known):
        raise WrongUse(f"no molecule of '{data.name}' has two atoms: distances lie between atoms")
    means = np.array([all_apart[which == i].mean() for i in range(len(known))])
    deviations = np.array([all_apart[which == i].std() for i in range(len(known))])
    every = np.arange(FARTHEST + 2)
    return np.interp(every, known, means), np.interp(every, known, deviations).clip(min=LEAST_SPREAD)
