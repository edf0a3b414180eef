"""SimpleShot as a head: the class of the nearest prototype, which is the mean of the class's labelled items.

Wang et al. 2019, arXiv:1911.04623. Nothing is trained: a class is added or taken away by its items.
"""

from typing import Any

import numpy as np
import torch

from enfold.model import unit
from training.adaptation import finish
from training.artefacts import few_labels
from training.evaluation import Subject
from training.evaluation.simpleshot import prototypes
from training.heads.prototypes import Prototypes, PrototypesConfig
from training.probes import features
from training.recipe import Adapt
from training.run import Run


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    """Prototypes of the labels that `stage` may see; the mean that centres them is of the whole training split."""
    assert subject.encoder is not None
    data = few_labels(subject.data("train"), stage.labels, run.seed)
    mean, labels = subject.features("train").mean(0), data.labels()
    found = prototypes(unit(features(subject.encoder, data.inputs(run.modality)) - mean), labels)
    classes = tuple(subject.classes[label] for label in np.unique(labels))
    head = Prototypes(subject.encoder, PrototypesConfig(labels=classes))
    head.mean.copy_(torch.from_numpy(mean))
    head.prototypes.copy_(torch.from_numpy(found))
    return {"labels": len(data)} | finish(head, subject, run.folder(stage.name))
