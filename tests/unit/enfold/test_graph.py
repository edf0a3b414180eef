"""Graphs: one graph in several forms, whom a node hears of, the words of nodes, and what is refused."""

import json
import re

import networkx
import numpy as np
import pytest

from enfold import modalities
from enfold.errors import BadItem, TooLarge
from enfold.modalities.graph import CENTRE, NODE, WORDS, Graph, GraphJson, GraphLimits, GraphPreprocess, Network, layout
from tests.examples import graphml, ring

PAIR = Graph(GraphPreprocess(features=2, neighbours=2, max_nodes=8))
TEXTS = (
    "red wine",
    "white wine",
    "red paint",
    "wine Wine and paint",
    "wine cellar",
    "paint shop",
    "wine shop",
    "a brush",
)


def arrays(item, modality: Graph = PAIR) -> dict[str, np.ndarray]:
    return modality.prepare(modality.read(item))[0].arrays


def same(one, other) -> None:
    for name, values in arrays(one).items():
        np.testing.assert_array_equal(values, arrays(other)[name])


def test_a_graph_of_networkx_is_the_same_as_node_link_json_and_as_graphml():
    made = networkx.node_link_data(networkx.parse_graphml(graphml(5).decode()), edges="links")
    listed = {"x": [[i % 2, 1.5 * i] for i in range(5)], "edges": [[i, (i + 1) % 5] for i in range(5)]}
    same(made, graphml(5))
    same(made, listed)
    same(made, json.dumps(listed))
    same(PAIR.from_json(GraphJson(graph=listed)), listed)


def test_an_edge_goes_both_ways_unless_the_graph_is_directed():
    """Loops and repeated edges change nothing; a node hears of those whose edges end at it."""
    x = [[0, 0]] * 3
    assert arrays({"x": x, "edges": [[0, 1], [1, 0], [1, 1], [0, 1]]})["neighbours"].tolist() == [
        [2, 0],
        [1, 0],
        [0, 0],
    ]
    assert arrays({"x": x, "edges": [[0, 1]], "directed": True})["neighbours"].tolist() == [[0, 0], [1, 0], [0, 0]]


def test_the_centre_is_marked_wherever_it_is_named():
    for facts in ({"centre": "n2"}, {"centre": None, "graph": {"centre": "n2"}}):
        item = {name: value for name, value in (ring(4) | facts).items() if value is not None}
        assert arrays(item)["kinds"].tolist() == [NODE, NODE, CENTRE, NODE]


def test_graphs_that_are_empty_looped_or_apart_are_read_or_refused():
    alone = arrays({"x": [[1, 2]], "edges": [[0, 0]]})
    assert alone["neighbours"].tolist() == [[0, 0]]
    apart = arrays({"x": [[1, 2]] * 4, "edges": [[0, 1], [2, 3]]})
    assert (apart["neighbours"][:, 0] == [2, 1, 4, 3]).all()
    with pytest.raises(BadItem, match="has no nodes"):
        PAIR.read({"nodes": [], "edges": []})


def test_of_too_many_neighbours_those_that_fewest_hear_of_are_kept_whatever_their_order():
    """Node 0 hears of a hub, of which three others hear too, and of three leaves."""
    edges = [[0, 1], [0, 2], [0, 3], [0, 4], [1, 5], [1, 6], [1, 7]]
    x = [[node, 0] for node in range(8)]
    assert arrays({"x": x, "edges": edges})["neighbours"][0].tolist() == [3, 4]
    turned = arrays({"x": x[::-1], "edges": [[7 - a, 7 - b] for a, b in edges[::-1]]})
    heard = turned["neighbours"][7]
    assert 1 not in turned["features"][heard - 1, 0], "the hub is left out"


def test_a_graph_that_is_too_large_is_cut_nearest_first_and_all_of_it_is_in_parts():
    value = PAIR.read(ring(20))
    [cut] = PAIR.prepare(value)
    ids = {round(number * 10) for number in cut.arrays["features"][:, 0]}
    assert ids - {5, 17} == {18, 19, 0, 1, 2, 3, 4}
    assert cut.arrays["kinds"].tolist().count(CENTRE) == 1
    parts = PAIR.prepare(value, parts=True)
    assert [(one.part.start, one.part.end) for one in parts] == [(0, 8), (8, 16), (16, 20)]
    seen = [round(number * 10) for one in parts for number in one.arrays["features"][:, 0]]
    assert sorted(seen) == list(range(20))
    assert sum(CENTRE in one.arrays["kinds"] for one in parts) == 1


def reader_of_words(tmp_path, features: int = 3) -> Graph:
    made = Graph(GraphPreprocess(features=features, words=WORDS), folder=tmp_path)
    (tmp_path / "resources").mkdir(exist_ok=True)
    trained = [made.read({"nodes": [{"text": text}]}) for text in TEXTS]
    [(path, content)] = made.learnt(trained).items()
    (tmp_path / path).write_bytes(content)
    assert made.learnt(trained[::-1]) == {path: content}, "the same texts give the same file"
    return made


def test_words_become_directions_of_their_tf_idf(tmp_path):
    """As numpy makes singular vectors, up to sign; a text of words never seen is nought."""
    reader = reader_of_words(tmp_path)
    known = ["paint", "wine"]  # in three texts or more
    counts = np.array([[text.lower().split().count(word) for word in known] for text in TEXTS], float)
    weights = counts * (1 + np.log((1 + len(TEXTS)) / (1 + (counts > 0).sum(0))))
    weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
    wanted = weights @ np.linalg.svd(weights, full_matrices=False)[2].T
    found = arrays({"nodes": [{"text": text} for text in (*TEXTS, "Übermorgen")]}, reader)["features"]
    assert found.shape == (9, 3)
    assert not found[:, 2:].any(), "two words have no third direction"
    assert not found[7:].any()
    np.testing.assert_allclose(np.abs(found[:8, :2]), np.abs(wanted), atol=1e-6)  # rows of length 1 stay so


def test_a_model_of_words_needs_texts_and_one_of_numbers_numbers(tmp_path):
    with pytest.raises(BadItem, match="have no text, which this model reads"):
        arrays({"x": [[1, 2]]}, reader_of_words(tmp_path))
    with pytest.raises(BadItem, match="a node has 3 numbers; this model takes 2"):
        arrays({"x": [[1, 2, 3]]})


def test_a_search_by_words_finds_the_text_of_the_centre():
    assert PAIR.words(PAIR.read(ring(3))) == "red thing"
    whole = {name: value for name, value in ring(2).items() if name != "centre"}
    assert PAIR.words(PAIR.read(whole)) == "blue thing\nred thing"
    assert PAIR.words(PAIR.read({"x": [[1, 2]]})) is None


@pytest.mark.parametrize(
    ("limits", "item", "sentence"),
    [
        ({"max_nodes": 4}, ring(5), "has 5 nodes; at most 4"),
        ({"max_nodes": 4}, graphml(5), "has some 5 nodes; at most 4"),
        ({"max_edges": 4}, ring(5), "has 5 edges; at most 4"),
        ({"max_edges": 4}, graphml(5), "has some 5 edges; at most 4"),
        ({"max_features": 1}, ring(5), "a node has 2 numbers; at most 1"),
        ({"max_text": 5}, ring(5), "has 10 characters; at most 5"),
        ({"max_parts": 1}, ring(20), "makes 3 parts; at most 1"),
    ],
)
def test_beyond_the_limits_it_is_refused(limits, item, sentence):
    limited = Graph(PAIR.preprocess, GraphLimits(**limits))
    with pytest.raises(TooLarge, match=sentence):
        limited.prepare(limited.read(item), parts=True)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"edges": [["n0", "n9"]]}, "edge 1 ends at 'n9', which is no node's id"),
        ({"centre": "n9"}, "the centre is 'n9'"),
        ({"nodes": [{"id": 1}, {"id": "1"}], "edges": []}, "two nodes have the id '1'"),
        ({"nodes": [{"id": "n1", "x": [float("nan")]}], "edges": []}, "'0' of node 'n1' is not finite"),
        ({"nodes": [{"id": "n1", "mass": 1}, {"id": "b"}], "edges": []}, "'b' and node 'n1' .* see 'mass'"),
        ({"nodes": [{"id": "n1", "text": "\ud800"}], "edges": []}, "lone surrogate"),
        ({"nodes": [{"id": "\ud800"}], "edges": []}, "lone surrogate"),
    ],
)
def test_what_cannot_be_meant_is_refused(facts, sentence):
    with pytest.raises(BadItem, match=sentence):
        PAIR.read(ring(3) | facts)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"neighbours": np.array([[[3, 0], [1, 0], [0, 0]]])}, "counted from 1"),
        ({"neighbours": np.array([[[-1, 0], [1, 0], [0, 0]]])}, "counted from 1"),
        ({"kinds": np.array([[2, 2, 0]])}, "has one centre"),
        ({"kinds": np.array([[1, 0, 1]])}, "then 0 for padding"),
        ({"kinds": np.array([[0, 0, 0]])}, "then 0 for padding"),
        ({"features": np.zeros((1, 3, 5), np.float32)}, "2 a node"),
        (
            {"kinds": np.ones((1, 9), int), "neighbours": np.zeros((1, 9, 2), int), "features": np.zeros((1, 9, 2))},
            "1 to 8",
        ),
    ],
)
def test_prepared_inputs_that_would_be_looked_up_beyond_the_graph_are_refused(changed, sentence):
    right = {
        "features": np.zeros((1, 3, 2), np.float32),
        "neighbours": np.array([[[2, 0], [1, 0], [0, 0]]]),
        "kinds": np.array([[2, 1, 0]]),
    }
    assert len(PAIR.prepared(right)) == 1
    with pytest.raises(BadItem, match=sentence):
        PAIR.prepared(right | changed)


def test_forces_lay_it_out_the_same_every_time_and_a_large_one_in_part():
    value = PAIR.read(ring(500))
    (shown, places), (_, again) = layout(value), layout(value)
    np.testing.assert_array_equal(places, again)
    assert len(places) == 200
    assert shown.names[shown.centre] == "n1"
    assert np.abs(places).max() <= 1
    assert layout(Network(("a",), np.zeros((0, 2), int), np.zeros((1, 0))))[1].shape == (1, 2)


def test_a_graph_is_found_by_its_suffix_and_its_copies_by_their_mark():
    assert modalities.of_path("net.graphml") == "graph"
    assert modalities.of_path("net.json") is None
    marks = {PAIR.mark(PAIR.read(item)) for item in (ring(4), json.dumps(ring(4)), ring(5))}
    assert len(marks) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}", mark) for mark in marks)
