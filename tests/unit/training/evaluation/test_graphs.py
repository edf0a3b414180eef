"""Judging encoders of graphs: what needs no encoder is by hand what it says, and nothing judged is changed."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from enfold.errors import WrongUse
from enfold.modalities.graph import Graph, GraphPreprocess
from training.data.sources import open_dataset
from training.encoders import build
from training.evaluation import Subject, graph_baselines, infomax

READER = Graph(GraphPreprocess(features=3, neighbours=2, max_nodes=8))


def subject(folder, *, centre: bool = True, own: float = 0.0, around: float = 0.0) -> Any:
    """Nodes of two chains; of how much their own numbers and their neighbours' tell the chain, the rest is noise."""
    rng, lines = np.random.default_rng(0), []
    for i in range(120):
        kind = i % 2
        sign, place = 2 * kind - 1, i // 2
        ids = [f"{kind}-{max(0, place - 1)}", f"{kind}-{place}", f"{kind}-{min(59, place + 1)}"]
        nodes = {
            name: {"id": name, "x": [*rng.normal(size=2), sign * (own if name == ids[1] else around)]} for name in ids
        }
        graph = {"nodes": list(nodes.values()), "edges": [[ids[0], ids[1]], [ids[1], ids[2]]]}
        graph |= {"centre": ids[1]} if centre else {}
        split = ("train", "train", "train", "val", "test")[place % 5]
        lines.append({"id": str(i), "label": "ab"[kind], "split": split, "graph": graph})
    (folder / "nodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    dataset = open_dataset(str(folder / "nodes.jsonl"), data=folder / "data")
    torch.manual_seed(0)
    encoder = build("gnn", {"dim": 16, "heads": 2}, 3).eval()
    run: Any = SimpleNamespace(seed=0, reader=lambda data: READER, sides={}, recipe=None)
    return Subject(encoder, run, dataset)


def test_what_neighbours_tell_is_found_by_smoothing_and_labels_pass_along_a_chain(tmp_path):
    found = graph_baselines.evaluate(subject(tmp_path, around=2.0))
    assert found["smoothed_accuracy"] > 0.9
    assert found["raw_accuracy"] < 0.75
    assert found["propagation_accuracy"] == 1.0


def test_smoothing_is_the_row_normalised_adjacency_twice():
    rng = np.random.default_rng(0)
    value = READER.read({"x": rng.normal(size=(4, 3)).tolist(), "edges": [[0, 1], [1, 2]]})
    inputs = READER.collate([READER.prepare(value)[0], READER.prepare(READER.read({"x": [[1, 2, 3]]}))[0]])
    step = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], float)
    step /= step.sum(1, keepdims=True)
    found = graph_baselines.smoothed(inputs)
    np.testing.assert_allclose(found[0], step @ step @ value.numbers, rtol=1e-5)
    np.testing.assert_allclose(found[1, 0], [1, 2, 3])


def test_whole_graphs_are_not_compared_by_their_nodes(tmp_path):
    with pytest.raises(WrongUse, match="have no centre"):
        graph_baselines.evaluate(subject(tmp_path, centre=False))


def test_infomax_trains_a_copy(tmp_path):
    judged = subject(tmp_path, own=2.0, around=2.0)
    before = {name: weight.clone() for name, weight in judged.encoder.state_dict().items()}
    assert infomax.evaluate(judged)["accuracy"] > 0.9
    assert infomax.evaluate(judged) == infomax.evaluate(judged)
    for name, weight in judged.encoder.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)


def test_nodes_are_exchanged_and_edges_stay():
    nodes, edges = torch.arange(50.0)[:, None], torch.tensor([[0, 1], [1, 0]])
    torch.manual_seed(0)
    mixed, same = infomax.exchanged(nodes, edges)
    assert same is edges
    assert sorted(mixed[:, 0].tolist()) == nodes[:, 0].tolist() != mixed[:, 0].tolist()
