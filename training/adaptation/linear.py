"""A linear head on frozen embeddings."""

from typing import Any

import numpy as np
import torch

from training.adaptation import finish
from training.evaluation import Subject
from training.evaluation.linear_probe import best_probe
from training.heads.classifier import Classifier, ClassifierConfig
from training.recipe import Adapt
from training.run import Run


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    """Logistic regression, its penalty chosen on validation."""
    probe, penalty = best_probe(subject)
    scaler, regression = probe[0], probe[-1]
    weight = regression.coef_ / scaler.scale_  # standardisation folded in: the head takes raw embeddings
    bias = regression.intercept_ - weight @ scaler.mean_
    if len(regression.classes_) == 2:  # scikit-learn keeps one row then: the logit of the second class over the first
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    assert subject.encoder is not None
    labels = tuple(subject.classes[i] for i in regression.classes_)
    head = Classifier(subject.encoder, ClassifierConfig(labels=labels))
    with torch.no_grad():
        head.classifier.weight.copy_(torch.from_numpy(weight))
        head.classifier.bias.copy_(torch.from_numpy(bias))
    return finish(head, subject, run.folder(stage.name)) | {"penalty": penalty}
