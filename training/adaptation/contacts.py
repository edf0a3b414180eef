"""The whole encoder with a head on pairs of residues, fitted to contacts of folded chains, by binary cross-entropy.

Rao et al. 2019 (TAPE), arXiv:1906.08230: pairs nearer than six places along the chain are left out.
"""
# B proteins, T tokens

import json
from typing import Any

import numpy as np
from torch.nn import functional as F

from enfold.modalities import Arrays
from enfold.tasks.contacts import APART, places_apart, touching
from training.adaptation import Tuner, tune
from training.encoders import Encoder
from training.evaluation import Subject
from training.heads.contacts import Contacts, ContactsConfig
from training.methods import Batch, Item, Losses
from training.recipe import Adapt
from training.run import Run
from training.views.protein import starts, window

NEEDS_LABELS = False
TAKES_SIDES = True  # column `contacts` beside the item


class PairTuner(Tuner):
    Config = ContactsConfig
    config: ContactsConfig

    def __init__(self, encoder: Encoder, config: ContactsConfig, preprocess: Any):
        super().__init__(encoder, config, preprocess)
        self.head = Contacts(encoder, config)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """A window; of its tokens which touch, bool [T, T], and which pairs are asked for, bool [T, T]."""
        start, most = int(rng.integers(starts(item.value, self.preprocess))), self.preprocess.max_residues
        count = len(item.value.sequence)
        real = touching(json.loads(item.side(Contacts.truth)), count)[start : start + most, start : start + most]
        asked = places_apart(len(real)) >= APART
        room = (1, most + 1 - len(real))
        return window(item.value, start, self.preprocess) | {
            "touching": np.pad(real, room),
            "asked": np.pad(asked, room),
        }

    def forward(self, batch: Batch) -> Losses:
        longest = int(batch["attention_mask"].sum(1).max())
        inputs = {name: batch[name][:, :longest] for name in ("input_ids", "attention_mask")}
        logits = self.head(self.encoder(inputs).tokens)  # [B, T, T]
        asked, real = (batch[name][:, :longest, :longest] for name in ("asked", "touching"))
        return {"loss": F.binary_cross_entropy_with_logits(logits[asked], real[asked].to(logits.dtype))}


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    return tune(PairTuner, stage, run, subject)
