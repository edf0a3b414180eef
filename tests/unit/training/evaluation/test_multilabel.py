"""Means of precision over classes and rankings, against their definitions; which classes and columns count."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from training.evaluation.multilabel import average_precision, classes, evaluate, linear_map, retrieval_map


def test_a_ranking_is_right_where_a_class_is_shared():
    wanted = np.array([[1, 0, 1], [0, 0, 0]], bool)  # the second asks for nothing
    labels = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0]], bool)
    scores = np.array([[0.9, 0.8, 0.1, 0.5], [1, 1, 1, 1]])  # ranks: wrong, right, wrong, right
    assert retrieval_map(scores, wanted, labels) == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_the_penalty_is_chosen_on_validation_class_by_class():
    rng = np.random.default_rng(0)
    truth = {split: rng.random((60, 2)) < 0.5 for split in ("train", "val", "test")}
    told = {split: np.concatenate([rows + rng.normal(0, 0.2, rows.shape)], 1) for split, rows in truth.items()}
    noise = {split: rng.normal(size=(60, 4)) for split in truth}
    assert linear_map(told.__getitem__, truth) > 0.97
    assert linear_map(noise.__getitem__, truth) < 0.75
    assert average_precision(np.zeros(3, bool), np.arange(3)) == 0


def subject(**columns: list[str]) -> Any:
    rng, words = np.random.default_rng(0), {"train": slice(0, 8), "val": slice(8, 12), "test": slice(12, 18)}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    data = {
        split: SimpleNamespace(records=[SimpleNamespace(payload=row) for row in rows[part]])
        for split, part in words.items()
    }
    features = {split: rng.normal(size=(len(one.records), 5)) for split, one in data.items()}
    pixels = {split: {"image": rng.random((len(one.records), 3, 4, 4))} for split, one in data.items()}
    return SimpleNamespace(
        data=data.__getitem__, features=features.__getitem__, centred=features.__getitem__, prepared=pixels.__getitem__
    )


def test_classes_that_all_or_no_items_have_are_left_out():
    words = ["all a", "all b"] * 9
    words[0] = "all a rare"
    found = classes(subject(labels=words), "labels")
    assert {split: rows.shape[1] for split, rows in found.items()} == {"train": 2, "val": 2, "test": 2}
    assert found["train"][:2].tolist() == [[True, False], [False, True]]


def test_columns_that_are_there_are_judged():
    figures = evaluate(subject(labels=["a", "b"] * 9, place=["x"] * 18))
    assert set(figures) == {"labels_map", "labels_colour_map", "labels_retrieval_map"}
    assert all(0 <= value <= 1 for value in figures.values())
    assert not evaluate(subject(place=["x"] * 18))
