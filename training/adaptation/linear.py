"""A linear head on frozen embeddings, with calibrated probabilities and an OOD score."""

from pathlib import Path

import numpy as np

from enfold.tasks import softmax
from enfold.tasks.classify import calibration_error
from training.adaptation.head import fit_temperature, ood_statistics, save_head
from training.evaluation import Subject
from training.evaluation.linear_probe import best_probe


def fit_head(subject: Subject, folder: Path) -> dict[str, float]:
    """Fit on train, choose penalty and temperature on validation, measure on test, write into `folder`."""
    probe, penalty = best_probe(subject)
    scaler, regression = probe[0], probe[-1]
    weight = regression.coef_ / scaler.scale_  # standardisation folded in: the head takes raw embeddings
    bias = regression.intercept_ - weight @ scaler.mean_
    if len(regression.classes_) == 2:  # scikit-learn keeps one row then: the logit of the second class over the first
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    val, test = subject.features("val"), subject.features("test")
    known = np.isin(subject.labels("val"), regression.classes_)  # a small training split may lack a class
    columns = np.searchsorted(regression.classes_, subject.labels("val")[known])
    temperature = fit_temperature(val[known] @ weight.T + bias, columns)
    statistics = ood_statistics(subject.features("train"), subject.labels("train"), val)
    labels = tuple(subject.classes[i] for i in regression.classes_)
    save_head(folder, weight, bias, labels, temperature, statistics)
    probabilities = softmax((test @ weight.T + bias) / temperature)
    right = regression.classes_[probabilities.argmax(1)] == subject.labels("test")
    return {
        "accuracy": float(right.mean()),
        "calibration_error": calibration_error(probabilities.max(1), right),
        "temperature": temperature,
        "penalty": penalty,
    }
