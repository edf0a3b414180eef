"""Boxes: how much they share, which of them stay, and how good they are, each against another way to reckon it."""

import json
from pathlib import Path

import numpy as np
import pytest

from enfold.modalities import Sample
from enfold.tasks import Prepared
from enfold.tasks.detect import (
    Detect,
    DetectAnswer,
    DetectOptions,
    DetectSpec,
    Scored,
    average_precision,
    intersection_over_union,
    suppressed,
)

RNG = np.random.default_rng(0)
TASK = Detect(DetectSpec(labels=("chair", "table"), graph="detect"), Path())


def boxes(count: int) -> np.ndarray:
    """Boxes [N, 7] that meet each other often."""
    return np.concatenate(
        [RNG.normal(0, 0.5, (count, 3)), RNG.uniform(0.4, 2, (count, 3)), RNG.uniform(-4, 4, (count, 1))], 1
    )


def holds(box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether a box holds each of the points [P, 3]."""
    turn = np.array([[np.cos(box[6]), -np.sin(box[6]), 0], [np.sin(box[6]), np.cos(box[6]), 0], [0, 0, 1]])
    return (np.abs((points - box[:3]) @ turn) <= box[3:6] / 2).all(1)


def test_what_two_boxes_share_is_what_points_find_in_both():
    one, other = boxes(6), boxes(5)
    points = RNG.uniform(-3.5, 3.5, (400_000, 3))
    inside = [np.stack([holds(box, points) for box in group]) for group in (one, other)]
    both = (inside[0][:, None] & inside[1]).sum(2)
    either = (inside[0][:, None] | inside[1]).sum(2)
    assert (both > 0).mean() > 0.5
    np.testing.assert_allclose(intersection_over_union(one, other), both / either, atol=0.02)


def test_boxes_along_the_axes_share_what_their_edges_say():
    one, other = boxes(40), boxes(40)
    one[:, 6], other[:, 6] = 0, np.pi / 2
    turned = other[:, [0, 1, 2, 4, 3, 5]]  # a quarter turn changes length and width
    low, high = (
        choose(one[:, None, :3] + sign * one[:, None, 3:6] / 2, turned[:, :3] + sign * turned[:, 3:] / 2)
        for choose, sign in ((np.maximum, -1), (np.minimum, 1))
    )
    shared = np.clip(high - low, 0, None).prod(2)
    together = one[:, 3:6].prod(1)[:, None] + other[:, 3:6].prod(1) - shared
    np.testing.assert_allclose(intersection_over_union(one, other), shared / together, atol=1e-6)


@pytest.mark.parametrize("yaw", [0.0, 0.3, np.pi / 2, 100.0])
@pytest.mark.parametrize("centre", [(0, 0, 0), (5e5, -3e6, 20)])
def test_a_box_shares_all_with_itself_and_nothing_with_one_that_touches_it(yaw, centre):
    box = np.array([[*centre, 2.0, 1.0, 0.5, yaw]])
    assert intersection_over_union(box, box)[0, 0] == pytest.approx(1, abs=1e-6)
    around = box + np.array([0, 0, 0, 0, 0, 0, np.pi])
    assert intersection_over_union(box, around)[0, 0] == pytest.approx(1, abs=1e-6)
    beside = box + np.array([2 * np.cos(yaw), 2 * np.sin(yaw), 0, 0, 0, 0, 0])
    above = box + np.array([0, 0, 0.5, 0, 0, 0, 0])
    for other in (beside, above):
        assert intersection_over_union(box, other)[0, 0] == pytest.approx(0, abs=1e-6)
    half = box * [1, 1, 1, 0.5, 1, 1, 1]
    assert intersection_over_union(box, half)[0, 0] == pytest.approx(0.5, abs=1e-6)


def test_of_boxes_that_overlap_the_surest_stays():
    found, scores = boxes(60), RNG.uniform(0, 1, 60)
    shared = intersection_over_union(found, found)
    expected: list[int] = []  # box by box, against every one that stays
    for i in np.argsort(-scores):
        if scores[i] >= 0.1 and all(shared[i, k] <= 0.3 for k in expected):
            expected.append(int(i))
    assert suppressed(found, scores, least=0.1, overlap=0.3) == expected
    assert 5 < len(expected) < 50


def test_boxes_that_are_none_are_left_out():
    found = np.zeros((4, 7))
    found[:, 0], found[:, 3:6] = np.arange(4) * 9, 1
    found[0, 3], found[1, 0] = -1, np.nan
    assert suppressed(found, np.ones(4), least=0.5, overlap=0.5) == [2, 3]


def test_average_precision_is_the_area_that_every_recall_gives():
    """Against the sum over recalls of the best precision at that recall or beyond, found threshold by threshold."""
    for _ in range(20):
        count, things = int(RNG.integers(1, 40)), int(RNG.integers(1, 30))
        scores, hit = RNG.permutation(count) / count, RNG.random(count) < 0.5
        hit &= np.cumsum(hit) <= things
        points = []
        for threshold in scores:
            kept = scores >= threshold
            points.append((hit[kept].sum() / things, hit[kept].mean()))
        area = sum(
            max((precision for recall, precision in points if recall >= step / things - 1e-9), default=0) / things
            for step in range(1, things + 1)
        )
        assert average_precision(scores, hit, things) == pytest.approx(area)


def answer(*things: tuple[str, float, float]) -> DetectAnswer:
    """(label, x, score) of boxes of a metre."""
    return DetectAnswer(
        boxes=[Scored(label=label, centre=(x, 0, 0), size=(1, 1, 1), score=score) for label, x, score in things]
    )


def truth(*things: tuple[str, float]) -> str:
    return json.dumps([{"label": label, "centre": (x, 0, 0), "size": (1, 1, 1)} for label, x in things])


def test_measured_by_hand():
    """One chair hit twice, one half off and one missed; the table's box stands elsewhere."""
    answers = [answer(("chair", 0.0, 0.9), ("chair", 0.1, 0.8), ("table", 9, 0.7)), answer(("chair", 5.5, 0.6))]
    figures = TASK.measure(answers, [truth(("chair", 0), ("table", 4)), truth(("chair", 5), ("chair", 8))])
    assert figures["ap25_chair"] == pytest.approx(1 / 3 + 2 / 3 / 3)  # hit, double, hit of three chairs
    assert figures["ap50_chair"] == pytest.approx(1 / 3)  # half a metre off shares a third
    assert figures["ap25_table"] == 0
    assert figures["map25"] == pytest.approx((1 / 3 + 2 / 9) / 2)
    assert figures["recall25"] == pytest.approx(2 / 4)
    assert figures["recall50"] == pytest.approx(1 / 4)
    perfect = TASK.measure([answer(("chair", 1, 0.3), ("table", 3, 0.2))], [truth(("chair", 1), ("table", 3))])
    assert set(perfect.values()) == {1.0}
    assert next(iter(figures)) == "map25"


def test_windows_are_put_together_where_they_lie():
    """The same chair, seen by two windows of which one begins four cells further on; cells are half a metre."""

    def graph(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert name == "detect"
        x = 6 - inputs["field"][:, 0]  # a chair six cells from the item's corner
        found = np.zeros((len(x), 2, 7), np.float32)
        found[..., 3:6] = 2
        found[:, 0, 0] = x
        return {"out_boxes": found, "out_scores": np.tile(np.float32([[0.9, 0.0], [0.01, 0.0]]), (len(x), 1, 1))}

    windows = [
        Sample({"field": np.array([first])}, origin={"corner": np.array([10 + first / 2, 0, 1]), "spacing": 0.5})
        for first in (0.0, 4.0)
    ]
    bare = [Sample({"field": np.array([0.0])})]
    seen, plain = TASK.run(graph, Prepared([windows, bare], {}), DetectOptions())
    assert [(box.label, box.centre, box.size) for box in seen.boxes] == [("chair", (13, 0, 1), (1, 1, 1))]
    assert [(box.centre, box.size) for box in plain.boxes] == [((6, 0, 0), (2, 2, 2))]
    all_boxes = TASK.run(graph, Prepared([bare], {}), DetectOptions(least_score=0.0, top=3))[0].boxes
    assert [box.score for box in all_boxes] == pytest.approx([0.9, 0.01, 0.0])
