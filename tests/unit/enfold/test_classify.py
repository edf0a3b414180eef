"""Calibration and the OOD score, on cases with a known answer."""

import numpy as np
import pytest

from enfold.modalities import Sample
from enfold.tasks import Prepared
from enfold.tasks.classify import (
    Classify,
    ClassifyAnswer,
    ClassifySpec,
    calibration_error,
    of_parts,
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


LOGITS = np.random.default_rng(0).normal(size=(40, 3))  # of forty tiles


def test_the_order_of_tiles_does_not_change_a_slides_answer():
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(of_parts(LOGITS[order]), of_parts(LOGITS))


def test_a_slide_is_as_near_to_a_class_as_its_five_nearest_tiles():
    by_hand = [np.mean(sorted(column)[-5:]) for column in LOGITS.T]
    np.testing.assert_allclose(of_parts(LOGITS), by_hand)
    np.testing.assert_allclose(of_parts(LOGITS[:3]), LOGITS[:3].mean(0))


def test_five_tiles_of_a_class_name_a_slide_of_a_thousand_others():
    tiles = np.concatenate([np.tile([0.0, -9.0, -1.0], (1000, 1)), np.tile([-5.0, 3.0, -5.0], (5, 1))])
    assert of_parts(tiles).argmax() == 1


def test_items_of_several_parts_are_answered_each_by_its_own(tmp_path):
    task = Classify(ClassifySpec(labels=("a", "b", "c"), head="head"), tmp_path)
    embedding = np.random.default_rng(2).normal(size=(9, 3)).astype(np.float32)
    samples = [[Sample({})] * count for count in (2, 6, 1)]
    prepared = Prepared(samples, {"out_embedding": embedding})
    answers = task.run(lambda _, inputs: {"out_classify": inputs["embedding"]}, prepared, task.Options(parts=True))
    wanted = [of_parts(embedding[rows]).argmax() for rows in (slice(0, 2), slice(2, 8), slice(8, 9))]
    assert [answer.label for answer in answers] == ["abc"[label] for label in wanted]
