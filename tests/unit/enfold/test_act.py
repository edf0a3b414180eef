"""Actions: online drawn by their probabilities, offline the most probable one."""

from pathlib import Path

import numpy as np
import pytest

from enfold.tasks import Prepared
from enfold.tasks.act import Act, ActOptions, ActSpec, taken

TASK = Act(ActSpec(names=("left", "right", "stay"), head="head_act"), Path())
LOGITS = np.log(np.array([[0.1, 0.6, 0.3]] * 2000, np.float32))


def answers(**options):
    prepared = Prepared([], {"out_embedding": LOGITS})
    return TASK.run(lambda name, inputs: {"out_act": inputs["embedding"]}, prepared, ActOptions(**options))


def test_offline_takes_the_most_probable_action():
    assert {answer.name for answer in answers()} == {"right"}


def test_online_draws_by_the_probabilities_and_a_seed_draws_again():
    found = [answer.action for answer in answers(mode="online", seed=0)]
    np.testing.assert_allclose(np.bincount(found) / len(found), [0.1, 0.6, 0.3], atol=0.03)
    assert found == [answer.action for answer in answers(mode="online", seed=0)]
    assert found != [answer.action for answer in answers(mode="online", seed=1)]


def test_what_is_certain_is_drawn_always():
    assert taken(np.eye(3), "online", np.random.default_rng(0)).tolist() == [0, 1, 2]


def test_quality_is_of_the_best_action():
    figures = TASK.measure(answers(), ["right"] * 1500 + ["stay"] * 500)
    assert figures["accuracy"] == 0.75
    assert figures["probability"] == pytest.approx(0.75 * 0.6 + 0.25 * 0.3)
