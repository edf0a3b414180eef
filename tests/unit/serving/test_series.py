"""Series over HTTP: numbers and files alike, how they go on, and a 4xx with a sentence for what makes no sense."""

import base64
import re

import numpy as np
import pytest

from tests import bundles
from tests.examples import npy
from tests.servers import start, stop, until

HOURS = 60
WAVE = np.sin(2 * np.pi * np.arange(HOURS) / 24) * 3 + 20
TIMES = [f"2024-03-{1 + hour // 24:02}T{hour % 24:02}:00:00" for hour in range(HOURS)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("courses")
    bundles.series_bundle(home / "bundles")
    running = start(home, "courses")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


def test_numbers_an_array_and_a_table_get_the_same_vector(http):
    table = "\n".join(["time,load", *(f"{time},{value}" for time, value in zip(TIMES, WAVE, strict=True))])
    items = [WAVE.tolist(), {"values": WAVE.tolist(), "times": TIMES}]
    items += [base64.b64encode(data).decode() for data in (npy(WAVE), table.encode())]
    answer = http.post("/embed", json={"items": [{"series": item} for item in items]})
    assert answer.status_code == 200, answer.text
    vectors = [row["vector"] for row in answer.json()["vectors"]]
    for vector in vectors[1:]:
        np.testing.assert_allclose(vector, vectors[0], atol=1e-6)
    form = http.post("/embed", data={"model": "courses"}, files=[("series", ("a.csv", table.encode()))])
    np.testing.assert_allclose(form.json()["vectors"][0]["vector"], vectors[0], atol=1e-6)
    parts = http.post("/embed", json={"items": [{"series": items[0]}], "parts": True}).json()["vectors"]
    assert [(row["part"]["start"], row["part"]["end"]) for row in parts] == [(0, 24), (24, 48), (36, 60)]


def test_any_horizon_comes_back_with_its_times_and_ranges(http):
    item = {"series": {"values": WAVE.tolist(), "times": TIMES, "channels": ["load"]}}
    for horizon in (1, 30):
        answer = http.post("/predict", json={"items": [item], "options": {"horizon": horizon}})
        assert answer.status_code == 200, answer.text
        [found] = answer.json()["answers"]
        [course] = found["courses"]
        assert course["channel"] == "load"
        want = np.sin(2 * np.pi * np.arange(HOURS, HOURS + horizon) / 24) * 3 + 20
        np.testing.assert_allclose(course["forecast"], want, atol=1e-4)
        low, high = (np.array(course["quantiles"][share]) for share in ("0.1", "0.9"))
        assert (low < high).all()
        assert found["times"][0] == "2024-03-03T12:00:00"
        assert len(found["times"]) == horizon


@pytest.mark.parametrize(
    ("series", "options", "sentence"),
    [
        (WAVE.tolist(), {"horizon": 0}, "'horizon' of forecast: .* greater than or equal to 1"),
        (WAVE.tolist(), {"horizon": 10_000_000}, "'horizon' of forecast: .* less than or equal to 10000"),
        (WAVE.tolist(), {"quantiles": [2.0]}, "'quantiles' has 2"),
        ([WAVE[:3].tolist()] * 9, {"horizon": 9000}, "9,000 steps of 3 channels are 27,000 values"),
        ([], {}, "the series is empty"),
        ([5.0], {}, "has 1 value"),
        ([1, "x"], {}, "step 2 of the series holds 'x'"),
        ([[1, 2], [3]], {}, "step 2 has 1 values, the first has 2"),
        ({"values": [1, 2], "times": [3, 2]}, {}, "sort them"),
        ({"values": [1, 2], "times": [3, 3]}, {}, "keep one of them"),
        ({"values": [1, 2], "times": [-1, 3]}, {}, "count from 0 on"),
        (5, {}, "a series in a request is numbers"),
    ],
)
def test_what_makes_no_sense_gets_a_4xx_with_its_sentence(http, series, options, sentence):
    answer = http.post("/predict", json={"items": [{"series": series}], "options": options, "all_or_nothing": True})
    assert 400 <= answer.status_code < 500, answer.text
    assert re.search(sentence, answer.json()["detail"]), answer.json()["detail"]


def test_the_schema_shows_what_a_forecast_is(http):
    known = http.get("/openapi.json").json()["components"]["schemas"]
    assert set(known["ForecastAnswer"]["properties"]) == {"times", "courses"}
    assert set(known["Course"]["properties"]) == {"channel", "forecast", "quantiles"}
    assert known["ForecastOptions"]["properties"]["horizon"]["maximum"] == 10_000
    assert "anyOf" in known["SeriesJson"]["properties"]["series"]
