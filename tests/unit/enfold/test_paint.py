"""An image for a text: the seed decides, shades are whole, and a count gives as many."""

import numpy as np
import pytest

from enfold.modalities import Sample
from enfold.tasks import Prepared
from enfold.tasks.paint import Paint, PaintSpec, pixels


@pytest.fixture
def task(tmp_path):
    return Paint(PaintSpec(graph="paint", noise=4), tmp_path)


def graphs(graph, inputs):
    """Each image is one shade, made of its noise and the first token."""
    shade = np.tanh(inputs["noise"].sum(1) + inputs["input_ids"][:, 0])
    return {"out_image": np.broadcast_to(shade[:, None, None, None], (len(shade), 3, 8, 8)).astype(np.float32)}


def prepared(*tokens: int) -> Prepared:
    return Prepared([[Sample({"input_ids": np.array([token, 1])})] for token in tokens], {})


def test_the_same_seed_paints_the_same_and_another_does_not(task):
    one, same, other = (task.run(graphs, prepared(0), task.Options(seed=seed))[0].images for seed in (1, 1, 2))
    assert one == same != other


def test_there_are_as_many_images_as_asked_for_every_text(task):
    answers = task.run(graphs, prepared(0, 1), task.Options(count=3))
    assert [len(answer.images) for answer in answers] == [3, 3]
    assert pixels(answers[0].images[0]).shape == (8, 8, 3)


def test_the_ends_of_the_range_are_black_and_white(task):
    dark, bright = task.run(graphs, prepared(-50, 50), task.Options())
    assert (pixels(dark.images[0]).max(), pixels(bright.images[0]).min()) == (0, 255)
    assert task.measure([dark, bright], ["", ""])["spread"] == pytest.approx(0.5)
    assert task.measure([dark, dark], ["", ""])["spread"] == 0


def test_an_answer_travels_as_json(task):
    [answer] = task.run(graphs, prepared(0), task.Options())
    assert task.Answer.model_validate_json(answer.model_dump_json()) == answer
