"""Graphs over HTTP: an object, a file and GraphML are one item; what no graph can be gets a 4xx with its sentence."""

import base64
import json
import re

import numpy as np
import pytest

from tests import bundles, examples
from tests.servers import start, stop, until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("nodes")
    bundles.graph_bundle(home / "bundles")
    running = start(home, "nodes")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


def embedded(http, *graphs):
    answer = http.post("/embed", json={"items": [{"graph": one} for one in graphs]})
    assert answer.status_code == 200, answer.text
    return [one["vector"] for one in answer.json()["vectors"]]


def test_an_object_and_files_of_both_formats_get_the_same_vector(http):
    listed = {"x": [[i % 2, 1.5 * i] for i in range(4)], "edges": [[i, (i + 1) % 4] for i in range(4)]}
    files = [base64.b64encode(file).decode() for file in (json.dumps(listed).encode(), examples.graphml(4))]
    vectors = embedded(http, listed, *files)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_array_equal(vectors[0], vectors[2])
    wanted = np.array([2, 9, 8, 0, 0, 0, 0, 0]) / np.linalg.norm([2, 9, 8])
    np.testing.assert_allclose(vectors[0], wanted, atol=1e-6)


def test_graphs_of_many_sizes_share_a_batch(http):
    graphs = [{"x": [[1, 0]] * k, "edges": [[i, i + 1] for i in range(k - 1)]} for k in (1, 9, 2, 16)]
    alone = [embedded(http, one)[0] for one in graphs]
    np.testing.assert_allclose(embedded(http, *graphs), alone, atol=1e-6)


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        ({"nodes": [], "edges": []}, "has no nodes"),
        ({"x": [[1, 2]], "edges": [[0, 7]]}, "edge 1 ends at '7', which is no node's id"),
        ({"x": [[1, 2], [1]]}, "do not have the same numbers"),
        ({"x": [[1, None]]}, "it is a list of numbers"),
        ({"x": [[1, 1e30]]}, "not finite, or beyond"),
        ({"x": [[1, 2, 3]]}, "a node has 3 numbers; this model takes 2"),
        ({"x": [[1, 2]] * 100_001}, "has 100,001 nodes; at most 100,000"),
        ([[0, 1]], "an object or a file, not list"),
        (base64.b64encode(b"<graphml>").decode(), "damaged, cut short or not understood"),
    ],
)
def test_what_is_no_graph_gets_a_4xx_with_its_sentence(http, graph, sentence):
    answer = http.post("/embed", json={"items": [{"graph": graph}], "all_or_nothing": True})
    assert 400 <= answer.status_code < 500, answer.text
    assert re.search(sentence, answer.json()["detail"]), answer.json()["detail"]


def test_nan_in_a_file_is_refused(http):
    file = base64.b64encode(b'{"x": [[1, NaN]]}').decode()
    answer = http.post("/embed", json={"items": [{"graph": file}], "all_or_nothing": True})
    assert answer.status_code == 422 or answer.status_code == 400
    assert "not finite" in answer.json()["detail"]


def test_the_schema_shows_what_a_graph_is(http):
    known = http.get("/openapi.json").json()["components"]["schemas"]
    shapes = known["GraphJson"]["properties"]["graph"]["anyOf"]
    assert {"nodes", "x", "edges", "directed", "centre"} == set(shapes[0]["properties"])
