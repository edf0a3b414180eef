"""Fine-tuning: the whole encoder with a head on its embedding, by cross-entropy on plain views (`training.views`).

`keep_head_layers` starts the head with the first layers of the pretraining's projection head (Chen et al. 2020,
SimCLRv2, arXiv:2006.10029, section 2); 0 starts at the embedding.
"""

from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from torch import nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from training.adaptation import finish
from training.artefacts import Items, few_labels, pretrained_method, save
from training.encoders import Encoder
from training.evaluation import Subject
from training.heads.classifier import Classifier, ClassifierConfig
from training.loop import fit
from training.methods import Batch, Item, Losses, Method
from training.recipe import Adapt
from training.run import Run
from training.schedule import train_config
from training.views import Plain, plain


class FineTuneConfig(BaseModel, frozen=True, extra="forbid"):
    label_smoothing: float = 0.1
    keep_head_layers: int = Field(0, ge=0)


class FineTune(Method):
    """Encoder and head, trained together; the head is set once the number of classes is known."""

    Config = FineTuneConfig
    config: FineTuneConfig
    head: Classifier
    view: Plain

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        return {**self.view(item.value, rng), "label": np.array(item.label)}

    def forward(self, batch: Batch) -> Losses:
        inputs = {name: values for name, values in batch.items() if name != "label"}
        logits = self.head(self.encoder(inputs).embedding)
        return {"loss": F.cross_entropy(logits, batch["label"], label_smoothing=self.config.label_smoothing)}


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    assert subject.encoder is not None
    tuner = FineTune.build(subject.encoder, stage.config, run.modality.preprocess)
    tuner.view = plain(run.modality)
    tuner.head = head_for(stage, run, tuner.encoder, subject.classes, tuner.config.keep_head_layers)
    data = few_labels(subject.data("train"), stage.labels, run.seed)
    folder, settings = run.folder(stage.name), train_config(stage.train)
    trained = fit(tuner, Items(run, data), settings, folder, seed=run.seed, probe=None, threads=run.threads)
    save(tuner.encoder, run, stage)
    return trained | {"labels": len(data)} | finish(tuner.head, Subject(tuner.encoder, run, subject.dataset), folder)


def head_for(stage: Adapt, run: Run, encoder: Encoder, labels: tuple[str, ...], layers: int) -> Classifier:
    """A fresh classifier on the first `layers` of the projection head of the pretraining that `stage` needs."""
    if not layers:
        return Classifier(encoder, ClassifierConfig(labels=labels))
    projection = getattr(pretrained_method(stage, run), "projection", None)
    if not isinstance(projection, nn.Sequential):
        raise WrongUse(f"stage '{stage.name}': keep_head_layers needs a pretraining with a projection head")
    kept = projection[:layers]
    widths = tuple(layer[0].out_features for layer in kept)  # type: ignore[index]
    head = Classifier(encoder, ClassifierConfig(labels=labels, kept=widths))
    head.neck.load_state_dict(kept.state_dict())
    return head
