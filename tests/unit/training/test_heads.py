"""The classification head: calibration and OOD statistics, and what is read back."""

import numpy as np
import pytest
import torch

from enfold.tasks import softmax
from enfold.tasks.classify import relative_mahalanobis
from tests.unit.training import tiny
from training.heads import load_head, save_head
from training.heads.classifier import Classifier, ClassifierConfig, fit_temperature, logits_of, ood_statistics
from training.heads.prototypes import Prototypes, PrototypesConfig

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
    encoder, inputs = tiny.vit(), RNG.normal(size=(5, 16)).astype(np.float32)
    head = Classifier(encoder, ClassifierConfig(labels=("a", "b", "c"), kept=kept))
    save_head(tmp_path, head, spec={"temperature": 1.5}, **{"means.npz": b"numbers"})
    back = load_head(tmp_path, encoder)
    np.testing.assert_array_equal(logits_of(back.head, inputs), logits_of(head, inputs))
    assert back.spec == {"labels": ["a", "b", "c"], "head": "head_classify", "temperature": 1.5}
    assert back.resources == {"resources/means.npz": b"numbers"}


def prototypes() -> Prototypes:
    head = Prototypes(tiny.vit(), PrototypesConfig(labels=("a", "b", "c")))
    for buffer in head.buffers():
        buffer.normal_()
    return head


def test_saved_prototypes_give_the_same_logits(tmp_path):
    head, inputs = prototypes(), RNG.normal(size=(5, 16)).astype(np.float32)
    save_head(tmp_path, head)
    back = load_head(tmp_path, tiny.vit()).head
    assert isinstance(back, Prototypes)
    np.testing.assert_array_equal(logits_of(back, inputs), logits_of(head, inputs))


def test_logits_of_prototypes_are_minus_distances_of_centred_directions():
    head, inputs = prototypes(), RNG.normal(size=(5, 16)).astype(np.float32)
    centred = inputs - head.mean.numpy()
    directions = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    by_hand = [[-np.linalg.norm(x - p) for p in head.prototypes.numpy()] for x in directions]
    np.testing.assert_allclose(logits_of(head, inputs), by_hand, rtol=1e-4)
