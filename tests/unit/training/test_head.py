"""The classification head: calibration and OOD statistics, and what is read back."""

import numpy as np
import pytest
import torch

from enfold.tasks import softmax
from enfold.tasks.classify import relative_mahalanobis
from training.adaptation.head import fit_temperature, load_head, ood_statistics, save_head

RNG = np.random.default_rng(0)


def test_the_temperature_that_made_the_labels_is_found():
    logits = RNG.normal(size=(20_000, 5)) * 2
    labels = np.array([RNG.choice(5, p=row) for row in softmax(logits / 2.5)])
    assert fit_temperature(logits, labels) == pytest.approx(2.5, rel=0.05)


def test_held_out_items_are_typical_and_strangers_are_not():
    labels = RNG.integers(0, 3, 600)
    centres = RNG.normal(size=(3, 16)) * 4
    points = centres[labels] + RNG.normal(size=(600, 16))
    known = ood_statistics(points[:400], labels[:400], points[400:500])
    reference = known.pop("distances")
    share = np.searchsorted(reference, relative_mahalanobis(points[500:], **known)) / len(reference)
    strange = np.searchsorted(reference, relative_mahalanobis(RNG.normal(size=(50, 16)) * 12, **known)) / len(reference)
    assert 0.35 < share.mean() < 0.65
    assert strange.mean() > 0.99


def test_a_saved_head_gives_the_same_logits(tmp_path):
    weight, bias, inputs = RNG.normal(size=(3, 8)), RNG.normal(size=3), RNG.normal(size=(5, 8)).astype(np.float32)
    save_head(tmp_path, weight, bias, ("a", "b", "c"), 1.5, {"means": np.zeros((3, 8))})
    head, labels, temperature = load_head(tmp_path)
    np.testing.assert_allclose(head(torch.from_numpy(inputs)).detach().numpy(), inputs @ weight.T + bias, atol=1e-5)
    assert (labels, temperature) == (["a", "b", "c"], 1.5)
