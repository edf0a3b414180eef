"""How an encoder is fitted to labels. An adaptation is a file of this folder with `adapt(stage, run, subject)`.

It writes a head into the stage's folder, and the encoder if it changed, and returns figures.
"""
# C classes

import io
from pathlib import Path

import numpy as np

from enfold.tasks import softmax
from enfold.tasks.classify import calibration_error
from training.evaluation import Subject
from training.heads import save_head
from training.heads.classifier import ClassifyHead, fit_temperature, logits_of, ood_statistics


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
        "val_accuracy": float(val.mean()),
        "calibration_error": calibration_error(probabilities.max(1), right),
        "temperature": temperature,
    }


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: array.astype(np.float32) for name, array in arrays.items()})  # type: ignore[arg-type]
    return file.getvalue()
