"""The whole encoder with a head on every residue, fitted to letters beside the chains, by cross-entropy.

Rao et al. 2019 (TAPE), arXiv:1906.08230, fit secondary structure so.
"""
# T tokens, C labels

from typing import Any

import numpy as np
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from training.adaptation import Tuner, tune
from training.encoders import Encoder
from training.evaluation import Subject
from training.heads.tags import Tags, TagsConfig
from training.methods import Batch, Item, Losses
from training.recipe import Adapt
from training.run import Run
from training.views.protein import starts, window

NEEDS_LABELS = False
TAKES_SIDES = True  # the column that the configuration names
_UNKNOWN = -100


class Tagger(Tuner):
    Config = TagsConfig
    config: TagsConfig

    def __init__(self, encoder: Encoder, config: TagsConfig, preprocess: Any):
        super().__init__(encoder, config, preprocess)
        self.head = Tags(encoder, config)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """A window, and of each of its tokens the number of its label [T]; -100 where there is none."""
        letters = item.side(self.config.truth)
        if len(letters) != (count := len(item.value.sequence)):
            raise WrongUse(f"item {item.index} has {count} residues and {len(letters)} letters: each has its own")
        start = int(rng.integers(starts(item.value, self.preprocess)))
        inputs = window(item.value, start, self.preprocess)
        known = list(self.config.labels)
        own = letters[start : start + self.preprocess.max_residues]
        numbers = [known.index(letter) if letter in known else _UNKNOWN for letter in own]
        label = np.full(len(inputs["input_ids"]), _UNKNOWN)
        label[1 : 1 + len(numbers)] = numbers
        return inputs | {"label": label}

    def forward(self, batch: Batch) -> Losses:
        longest = int(batch["attention_mask"].sum(1).max())
        batch = {name: values[:, :longest] for name, values in batch.items()}
        label = batch.pop("label")
        logits = self.head(self.encoder(batch).tokens, batch["attention_mask"])  # [B, T, C]
        return {"loss": F.cross_entropy(logits.transpose(1, 2), label, ignore_index=_UNKNOWN)}


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    return tune(Tagger, stage, run, subject)
