"""Probes: known answers."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from enfold.model import unit
from enfold.rankme import rankme
from tests.unit.training import tiny
from training.probes import TEMPERATURE, collapsed, feature_std, features, knn_accuracy

RNG = np.random.default_rng(0)


def test_the_vote_equals_scikit_learns():
    train, test = RNG.normal(size=(200, 8)), RNG.normal(size=(60, 8))
    train_labels, test_labels = RNG.integers(0, 4, 200), RNG.integers(0, 4, 60)

    def weigh(squared: np.ndarray) -> np.ndarray:
        return np.exp((1 - squared**2 / 2 - 1) / TEMPERATURE)

    peer = KNeighborsClassifier(20, weights=weigh).fit(unit(train), train_labels)
    assert knn_accuracy(train, train_labels, test, test_labels) == peer.score(unit(test), test_labels)


def test_few_training_items_all_vote():
    assert knn_accuracy(np.eye(3), np.arange(3), np.eye(3), np.arange(3)) == 1.0


def test_spread_is_one_on_the_sphere_and_nothing_in_a_point():
    assert feature_std(RNG.normal(size=(5000, 32))) == pytest.approx(1.0, abs=0.02)
    assert feature_std(np.ones((10, 32))) == pytest.approx(0.0, abs=1e-6)


def test_one_embedding_for_all_is_collapse():
    point = np.ones((50, 8)) + 1e-5 * RNG.normal(size=(50, 8))
    assert collapsed({"feature_std": feature_std(point), "rankme": rankme(point)})
    cloud = RNG.normal(size=(50, 8))
    assert not collapsed({"feature_std": feature_std(cloud), "rankme": rankme(cloud)})


def test_features_leave_the_encoder_in_its_mode_and_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch):
    encoder = tiny.vit().train()
    images = {"image": RNG.normal(size=(7, 3, 16, 16)).astype(np.float32)}
    whole = features(encoder, images)
    monkeypatch.setattr("training.probes.BATCH", 2)
    np.testing.assert_allclose(features(encoder, images), whole, atol=1e-5)
    assert encoder.training
