"""The classification head: calibration and OOD statistics, and what is read back."""

import numpy as np
import pytest
import torch

from enfold.tasks import softmax
from enfold.tasks.classify import relative_mahalanobis
from training.heads import Head, PrototypeHead, fit_temperature, load_head, logits_of, ood_statistics, save_head

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


@pytest.mark.parametrize("kept", [(), (6,), (6, 4)])
def test_a_saved_head_gives_the_same_logits(tmp_path, kept):
    torch.manual_seed(0)
    head, inputs = Head(8, 3, kept), RNG.normal(size=(5, 8)).astype(np.float32)
    save_head(tmp_path, head, ("a", "b", "c"), 1.5, {"means": np.zeros((3, 8))})
    back, labels, temperature = load_head(tmp_path)
    np.testing.assert_array_equal(logits_of(back, inputs), logits_of(head, inputs))
    assert (labels, temperature) == (["a", "b", "c"], 1.5)


def test_a_saved_prototype_head_gives_the_same_logits(tmp_path):
    head, inputs = PrototypeHead(8, 3), RNG.normal(size=(5, 8)).astype(np.float32)
    for buffer in head.buffers():
        buffer.normal_()
    save_head(tmp_path, head, ("a", "b", "c"), 1.5, {"means": np.zeros((3, 8))})
    back, labels, _ = load_head(tmp_path)
    assert isinstance(back, PrototypeHead)
    np.testing.assert_array_equal(logits_of(back, inputs), logits_of(head, inputs))
    assert labels == ["a", "b", "c"]


def test_a_prototype_heads_logits_are_minus_squared_distances_of_centred_directions():
    head, inputs = PrototypeHead(8, 3), RNG.normal(size=(5, 8)).astype(np.float32)
    for buffer in head.buffers():
        buffer.normal_()
    centred = inputs - head.mean.numpy()
    directions = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    by_hand = [[-((x - p) ** 2).sum() for p in head.prototypes.numpy()] for x in directions]
    np.testing.assert_allclose(logits_of(head, inputs), by_hand, rtol=1e-4)
