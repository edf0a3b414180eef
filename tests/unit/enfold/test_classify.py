"""Calibration and the OOD score, on cases with a known answer."""

import numpy as np
import pytest

from enfold.tasks.classify import (
    Classify,
    ClassifyAnswer,
    ClassifySpec,
    bag_distances,
    calibration_error,
    relative_mahalanobis,
)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    assert calibration_error(np.array([0.9] * 10), np.array([True] * 9 + [False])) == pytest.approx(0)
    assert calibration_error(np.array([1.0] * 10), np.array([True] * 5 + [False] * 5)) == pytest.approx(0.5)


def test_distance_grows_away_from_the_class_and_is_invariant_to_linear_maps():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(500, 4)) * [1, 2, 3, 4]
    train[250:] += 30
    near, far = np.zeros((1, 4)), np.array([[60.0, -60.0, 60.0, -60.0]])
    mapping = rng.normal(size=(4, 4))

    def distances(points, transform):
        data = train @ transform
        classes = np.stack([data[:250].mean(0), data[250:].mean(0)])
        within = np.linalg.inv(np.cov(np.concatenate([data[:250] - classes[0], data[250:] - classes[1]]).T))
        return relative_mahalanobis(points @ transform, classes, within, data.mean(0), np.linalg.inv(np.cov(data.T)))

    assert distances(far, np.eye(4)) > distances(near, np.eye(4))
    np.testing.assert_allclose(distances(far, mapping), distances(far, np.eye(4)), rtol=1e-6)


def test_measure_counts_what_is_right(tmp_path):
    task = Classify(ClassifySpec(labels=("a", "b"), head="head"), tmp_path)
    answers = [ClassifyAnswer(label=label, probability=0.5, top=[]) for label in "aab"]
    figures = task.measure(answers, ["a", "b", "b"])
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["macro_f1"] == pytest.approx(2 / 3)


def bag() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forty embeddings, three prototypes, a mean."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 6)), rng.normal(size=(3, 6)), rng.normal(size=6)


def test_the_order_of_tiles_does_not_change_a_slides_distances():
    tiles, prototypes, mean = bag()
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_array_equal(bag_distances(tiles[order], prototypes, mean), bag_distances(tiles, prototypes, mean))


def test_a_slide_is_as_near_to_a_class_as_its_five_nearest_tiles():
    tiles, prototypes, mean = bag()
    centred = (tiles - mean) / np.linalg.norm(tiles - mean, axis=1, keepdims=True)
    by_hand = [np.mean(sorted(np.linalg.norm(x - p) for x in centred)[:5]) for p in prototypes]
    np.testing.assert_allclose(bag_distances(tiles, prototypes, mean), by_hand)
    few = [np.mean([np.linalg.norm(x - p) for x in centred[:3]]) for p in prototypes]
    np.testing.assert_allclose(bag_distances(tiles[:3], prototypes, mean), few)


def test_five_tiles_of_a_class_name_a_slide_of_a_thousand_others():
    prototypes = np.eye(3)
    tiles = np.concatenate([np.full((1000, 3), -1.0), np.tile([0.0, 2.0, 0.0], (5, 1))])
    assert bag_distances(tiles, prototypes, np.zeros(3)).argmin() == 1
