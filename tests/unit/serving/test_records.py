"""Records over HTTP: events and files alike, counts with intervals, and a 4xx for what makes no sense."""

import base64
import json
import re

import numpy as np
import pytest

from tests import bundles
from tests.servers import start, stop, until

EVENTS = [{"time": 0, "code": "cough"}, {"time": 30, "code": "fever"}, {"time": 31, "code": "never seen"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("persons")
    bundles.records_bundle(home / "bundles")
    running = start(home, "persons")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


def test_events_an_object_and_files_get_the_same_vector(http):
    table = "time,code\n" + "".join(f"{one['time']},{one['code']}\n" for one in EVENTS[::-1])
    files = [base64.b64encode(data).decode() for data in (table.encode(), json.dumps(EVENTS).encode())]
    items = [EVENTS, {"events": EVENTS, "until": 900}, *files]
    answer = http.post("/embed", json={"items": [{"records": item} for item in items]})
    assert answer.status_code == 200, answer.text
    vectors = [row["vector"] for row in answer.json()["vectors"]]
    for vector in vectors[1:]:
        np.testing.assert_array_equal(vector, vectors[0])
    long = [{"time": day, "code": "cough"} for day in range(12)]
    parts = http.post("/embed", json={"items": [{"records": long}], "parts": True}).json()["vectors"]
    assert [(row["part"]["start"], row["part"]["end"]) for row in parts] == [(0, 8), (4, 12)]


def test_counts_come_with_intervals_that_widen_with_coverage(http):
    widths = []
    for coverage in (0.5, 0.99):
        asked = {"items": [{"records": EVENTS}], "options": {"coverage": coverage}}
        answer = http.post("/predict", json=asked)
        assert answer.status_code == 200, answer.text
        [found] = answer.json()["answers"]
        assert (found["coverage"], found["days"]) == (coverage, 365)
        assert [one["name"] for one in found["estimates"]] == ["visits", "falls"]
        widths.append([one["high"] - one["low"] for one in found["estimates"]])
    assert all(wide > narrow for narrow, wide in zip(*widths, strict=True))


@pytest.mark.parametrize(
    ("records", "options", "sentence"),
    [
        ([], {}, "no events"),
        ([{"time": -1, "code": "cough"}], {}, "count days from the first event on"),
        ([{"time": 1, "code": "plague"}], {}, "none of the codes .* cough, fever, weight"),
        ([{"time": 1}], {}, "event 1 is no object of time, code"),
        (5, {}, "records in a request are events"),
        (EVENTS, {"coverage": 1.0}, "'coverage' of estimate"),
    ],
)
def test_what_makes_no_sense_gets_a_4xx_with_its_sentence(http, records, options, sentence):
    answer = http.post("/predict", json={"items": [{"records": records}], "options": options, "all_or_nothing": True})
    assert 400 <= answer.status_code < 500, answer.text
    assert re.search(sentence, answer.json()["detail"]), answer.json()["detail"]


def test_the_schema_shows_what_an_estimate_is(http):
    known = http.get("/openapi.json").json()["components"]["schemas"]
    assert set(known["EstimateAnswer"]["properties"]) == {"estimates", "coverage", "days"}
    assert set(known["Estimated"]["properties"]) == {"name", "expected", "low", "high"}
    assert "anyOf" in known["RecordsJson"]["properties"]["records"]
