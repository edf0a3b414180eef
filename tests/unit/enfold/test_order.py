"""Videos that run on, backwards or nowhere, judged by a head that takes brightness for time."""

from pathlib import Path

import numpy as np
import pytest

from enfold.modalities import Part, Sample
from enfold.tasks import Prepared
from enfold.tasks.order import Order, OrderAnswer, OrderOptions, OrderSpec

TASK = Order(OrderSpec(graph="order"), Path())


def graphs(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert name == "order"
    three = inputs["three"][..., 0]  # a window, the one before, the one after
    return {"out_order": 2 * (three[:, 1] - three[:, 2]) + three[:, 0]}


def answers(*videos: list[float], starts: tuple[int, ...] = ()) -> list[OrderAnswer]:
    samples = [
        [Sample({}, Part(index=i, start=(starts or range(0, 99, 3))[i], end=0)) for i in range(len(video))]
        for video in videos
    ]
    encoded = np.array([value for video in videos for value in video], np.float32)[:, None]
    return TASK.run(graphs, Prepared(samples, {"out_embedding": encoded}), OrderOptions())


def test_every_window_is_asked_between_its_neighbours():
    rising, falling, still = answers([0, 1, 2, 3, 4], [4, 3, 2], [1, 1, 1, 1])
    assert len(rising.windows) == 3
    assert rising.windows == pytest.approx([1 / (1 + np.exp(-8))] * 3)
    assert falling.in_order == pytest.approx(1 - rising.in_order)
    assert still.windows == [0.5, 0.5]


def test_what_the_window_itself_is_like_does_not_count():
    assert answers([0, 9, 2])[0].in_order == pytest.approx(answers([0, 1, 2])[0].in_order)


def test_a_last_window_that_was_moved_inside_is_left_out():
    assert len(answers([0, 1, 2, 3], starts=(0, 3, 6, 8))[0].windows) == 1
    assert len(answers([0, 1, 2, 3], starts=(0, 3, 6, 9))[0].windows) == 2


@pytest.mark.parametrize("video", [[1.0], [1.0, 2.0]])
def test_of_a_video_of_fewer_than_three_windows_nothing_is_said(video):
    short, other = answers(video, [0, 1, 2])
    assert (short.in_order, short.windows) == (None, [])
    assert len(other.windows) == 1
    assert TASK.measure([short, other], [False, True]) == {"accuracy": 0.5}


def test_it_is_measured_by_which_side_of_a_half_it_falls():
    found = answers([0, 1, 2], [2, 1, 0], [0, 1, 2])
    assert TASK.measure(found, [True, False, False]) == {"accuracy": pytest.approx(2 / 3)}
