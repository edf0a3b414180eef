"""Trajectories: what is written in several ways is one; nothing done yet is an item too."""

import json

import numpy as np
import pytest

from enfold.errors import BadItem
from enfold.modalities.trajectory import Trajectory, TrajectoryJson, TrajectoryPreprocess

PLANE = Trajectory(TrajectoryPreprocess(state=2, actions=3, horizon=4))
BANDIT = Trajectory(TrajectoryPreprocess(state=1, actions=3, horizon=4))
SEEN = [[0, 0], [1, 0], [1, 1]]


def steps(modality: Trajectory, **facts) -> np.ndarray:
    return modality.prepare(modality.read(json.dumps(facts)))[0].arrays["steps"]


def test_observations_after_the_last_action_or_after_each_are_the_same():
    course = {"actions": [2, 0], "rewards": [0, 1]}
    whole = steps(PLANE, observations=SEEN, **course)
    np.testing.assert_array_equal(
        whole, steps(PLANE, observations=SEEN[:-1], next_observations=SEEN[1:], query=SEEN[-1], **course)
    )
    np.testing.assert_array_equal(whole[0], [1, 1, 0, 0, 0, 0, 0, 0])  # the question: where one is now
    np.testing.assert_array_equal(whole[1], [0, 0, 0, 0, 1, 1, 0, 0])  # state, action, state after it, reward
    np.testing.assert_array_equal(whole[2], [1, 0, 1, 0, 0, 1, 1, 1])


def test_nothing_done_yet_is_the_question_alone():
    assert steps(BANDIT, actions=[], rewards=[]).tolist() == [[1, 0, 0, 0, 0, 0]]
    assert steps(PLANE, actions=[], rewards=[], observations=[[3, 4]]).tolist() == [[3, 4, 0, 0, 0, 0, 0, 0]]
    sent = PLANE.from_json(TrajectoryJson(trajectory={"actions": [], "rewards": [], "query": [3, 4]}))
    assert PLANE.prepare(PLANE.read(sent))[0].arrays["steps"].shape == (1, 8)
    assert PLANE.thumbnail(PLANE.read(sent))[8:12] == b"WEBP"


def test_of_more_steps_than_the_model_takes_the_last_are_seen():
    found = steps(BANDIT, actions=[0] * 5 + [1] * 4, rewards=[0] * 9)
    assert found.shape == (5, 6)
    assert found[1:, 2].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"actions": [0], "rewards": []}, "1 actions and 0 rewards"),
        ({"actions": [True], "rewards": [1]}, "action 1 is True"),
        ({"actions": [0], "rewards": [10**400]}, "reward 1 is not finite"),
        ({"actions": [0], "rewards": [1], "observations": SEEN}, "1 actions and 3 observations: give 2"),
        ({"actions": [7], "rewards": [1], "observations": SEEN[:2]}, "an action 7; this model knows 3, from 0 to 2"),
        ({"actions": [0], "rewards": [1]}, "a state has 1 numbers; this model takes 2"),
        ({"actions": "0", "rewards": [1]}, "actions of a trajectory are a list"),
    ],
)
def test_what_cannot_be_meant_is_refused(facts, sentence):
    with pytest.raises(BadItem, match=sentence):
        steps(PLANE, **facts)
