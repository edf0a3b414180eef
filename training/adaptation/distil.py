"""Distillation: a fresh, often smaller, encoder learns what a tuned one answers, without any true label.

Chen et al. 2020 (SimCLRv2), arXiv:2006.10029, section 2; the term is multiplied by the temperature squared as in the
authors' code. With `labelled_weight` above 0, cross-entropy on the labelled items is mixed in.
"""
# B items, C classes

from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.nn import functional as F

from enfold.modalities import Arrays
from training.adaptation import finish
from training.artefacts import Items, few_labels, fresh_encoder, needed_folder, save
from training.encoders import Encoder
from training.evaluation import Subject
from training.heads import Head, load_head
from training.heads.classifier import Classifier, ClassifierConfig
from training.loop import fit
from training.methods import Batch, Item, Losses, Method
from training.recipe import Adapt
from training.run import Run
from training.schedule import train_config
from training.views import Plain, plain


class DistilConfig(BaseModel, frozen=True, extra="forbid"):
    temperature: float = Field(1.0, gt=0)
    labelled_weight: float = Field(0.0, ge=0, lt=1)  # the paper's 1 - alpha


class Distil(Method):
    """The student's encoder and head; the teacher is frozen and no part of the state."""

    Config = DistilConfig
    config: DistilConfig
    head: Classifier
    view: Plain

    def teach(self, encoder: Encoder, head: Head, labelled: frozenset[int]) -> None:
        """labelled   indices of the items whose label may be looked at"""
        self._teacher = (encoder.eval().requires_grad_(False), head.eval().requires_grad_(False))
        self._labelled = labelled

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        shown = item.label if item.index in self._labelled else -1
        return {**self.view(item.value, rng), "label": np.array(shown)}

    def forward(self, batch: Batch) -> Losses:
        inputs = {name: values for name, values in batch.items() if name != "label"}
        weight = self.config.labelled_weight
        with torch.no_grad():
            encoder, head = self._teacher
            taught = head(encoder(inputs).embedding)
        logits = self.head(self.encoder(inputs).embedding)
        loss = soft_cross_entropy(logits, taught, temperature=self.config.temperature)
        if weight and (batch["label"] >= 0).any():
            loss = (1 - weight) * loss + weight * F.cross_entropy(logits, batch["label"], ignore_index=-1)
        return {"loss": loss}


def soft_cross_entropy(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy [B, C] x [B, C] against the teacher's softened probabilities, times the temperature squared."""
    wanted = (teacher / temperature).softmax(1)
    return -(wanted * (logits / temperature).log_softmax(1)).sum(1).mean() * temperature**2


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    student = fresh_encoder(run, stage)
    method = Distil.build(student, stage.config, run.modality.preprocess)
    method.view = plain(run.modality)
    method.head = Classifier(student, ClassifierConfig(labels=subject.classes))
    pool = subject.data("train")
    labelled = few_labels(pool, stage.labels, run.seed)
    ids = {record.id for record in labelled.records}
    shown = frozenset(i for i, record in enumerate(pool.records) if record.id in ids)
    assert subject.encoder is not None
    teacher = load_head(needed_folder(stage, run, "head.json"), subject.encoder).head
    method.teach(subject.encoder, teacher, shown)
    folder, settings = run.folder(stage.name), train_config(stage.train)
    trained = fit(method, Items(run, pool), settings, folder, seed=run.seed, probe=None, threads=run.threads)
    save(student, run, stage)
    return trained | finish(method.head, Subject(student, run, subject.dataset), folder)
