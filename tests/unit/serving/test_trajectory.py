"""Trajectories over HTTP: a caller who appends what actions brought learns which is the best, and errors are told."""

import base64
import json
import re

import numpy as np
import pytest

from tests import bundles
from tests.servers import start, stop, until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("arms")
    bundles.trajectory_bundle(home / "bundles")
    running = start(home, "arms")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


def acted(http, steps, **options):
    answer = http.post("/predict", json={"items": [{"trajectory": steps}], "options": options})
    assert answer.status_code == 200, answer.text
    return answer.json()["answers"][0]


def test_an_object_and_a_file_get_the_same_vector(http):
    steps = {"actions": [0, 2], "rewards": [1, 0.5]}
    items = [steps, base64.b64encode(json.dumps(steps).encode()).decode()]
    vectors = http.post("/embed", json={"items": [{"trajectory": item} for item in items]}).json()["vectors"]
    np.testing.assert_array_equal(vectors[0]["vector"], vectors[1]["vector"])


def test_a_context_that_grows_at_the_callers_finds_the_best_arm(http):
    steps = {"actions": [], "rewards": []}
    for turn in range(8):
        found = acted(http, steps, mode="online", seed=turn)
        assert sum(found["probabilities"]) == pytest.approx(1)
        steps["actions"].append(found["action"])
        steps["rewards"].append(float(found["action"] == 2))
    assert set(steps["actions"]) > {2}, "online it tries others too"
    best = acted(http, steps)
    assert (best["name"], best["mode"]) == ("right", "offline")


@pytest.mark.parametrize(
    ("trajectory", "options", "sentence"),
    [
        ({"actions": [0]}, {}, "has actions and rewards"),
        ({"actions": [3], "rewards": [1]}, {}, "an action 3; this model knows 3"),
        ({"actions": [0], "rewards": [1], "query": [1, 2]}, {}, "query has 2 numbers"),
        ([1], {}, "an object or a file, not list"),
        ({"actions": [0], "rewards": [1]}, {"mode": "asleep"}, "'mode' of act"),
    ],
)
def test_what_makes_no_sense_gets_a_4xx_with_its_sentence(http, trajectory, options, sentence):
    asked = {"items": [{"trajectory": trajectory}], "options": options, "all_or_nothing": True}
    answer = http.post("/predict", json=asked)
    assert 400 <= answer.status_code < 500, answer.text
    assert re.search(sentence, answer.json()["detail"]), answer.json()["detail"]


def test_the_schema_shows_what_an_action_is(http):
    known = http.get("/openapi.json").json()["components"]["schemas"]
    assert set(known["ActAnswer"]["properties"]) == {"action", "name", "probabilities", "mode"}
