"""How an encoder is fitted to labels. An adaptation is a file of this folder with `adapt(stage, run, subject)`.

It writes a head into the stage's folder, and the encoder if it changed, and returns figures. One that learns from
columns beside the item says so by TAKES_SIDES, one that asks for no labels by NEEDS_LABELS.
"""
# C classes

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from enfold.tasks import softmax
from enfold.tasks.classify import calibration_error
from training.artefacts import Items, few_labels, save
from training.evaluation import Subject
from training.heads import Head, save_head
from training.heads.classifier import ClassifyHead, fit_temperature, logits_of, ood_statistics
from training.loop import fit
from training.methods import Method
from training.recipe import Adapt
from training.run import Run
from training.schedule import train_config


class Tuner(Method):
    """The whole encoder and a head, trained together on what stands beside the items."""

    head: Head


def tune(kind: type[Tuner], stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    """Fit what a `kind` makes of the subject's encoder, and write encoder and head. Returns figures."""
    assert subject.encoder is not None
    torch.manual_seed(run.seed)
    tuner = kind.build(subject.encoder, stage.config, run.modality.preprocess)
    data = few_labels(subject.data("train"), stage.labels, run.seed)
    folder, settings = run.folder(stage.name), train_config(stage.train)
    trained = fit(tuner, Items(run, data), settings, folder, seed=run.seed, probe=None, threads=run.threads)
    save(tuner.encoder, run, stage)
    save_head(folder, tuner.head)
    return trained | {"labels": len(data)}


def finish(head: ClassifyHead, subject: Subject, folder: Path) -> dict[str, float]:
    """Calibrate a head on validation, measure it on test, and write it with its statistics into `folder`.

    subject   has the encoder under the head
    """
    # The label number of each column of the logits: a small training split may lack a class.
    classes = np.array([subject.classes.index(label) for label in head.config.labels])  # [C]
    seen = np.isin(subject.labels("val"), classes)
    temperature = fit_temperature(
        logits_of(head, subject.features("val")[seen]), np.searchsorted(classes, subject.labels("val")[seen])
    )
    train = subject.features("train")
    # Classes as the head sees them: a label that was hidden from it stays hidden here.
    statistics = ood_statistics(train, logits_of(head, train).argmax(1), subject.features("val"))
    spec = {"temperature": temperature, "statistics": "resources/statistics.npz"}
    save_head(folder, head, spec=spec, **{"statistics.npz": _npz(statistics)})
    probabilities = softmax(logits_of(head, subject.features("test")) / temperature)
    right = classes[probabilities.argmax(1)] == subject.labels("test")
    val = classes[logits_of(head, subject.features("val")).argmax(1)] == subject.labels("val")
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": balanced(right, subject.labels("test")),
        "val_accuracy": float(val.mean()),
        "calibration_error": calibration_error(probabilities.max(1), right),
        "temperature": temperature,
    }


def balanced(right: np.ndarray, truth: np.ndarray) -> float:
    """The mean over the classes that there are of the share that is right, [N] and [N]."""
    return float(np.mean([right[truth == label].mean() for label in np.unique(truth)]))


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: array.astype(np.float32) for name, array in arrays.items()})  # type: ignore[arg-type]
    return file.getvalue()
