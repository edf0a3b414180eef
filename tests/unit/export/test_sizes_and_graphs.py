"""Bundles of several sizes and modalities, and graphs that tasks call: each judged, weights written once."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch

import enfold
from enfold.bundle import WEIGHTS
from enfold.errors import GateRefused, UnknownName, WrongUse
from enfold.modalities import get
from enfold.modalities.volume import Voxels
from enfold.tasks.segment import label_map
from export.draft import Draft, HeldOut, Reference, TaskGraph, encode_with
from export.onnx import encoder_graph, share, task_graph
from export.publish import publish
from export.runs import _in_one_space
from tests.unit.export.drafts import image_draft, vit
from training.encoders import build
from training.heads import build as build_head

SPACING = {"spacing": 1.0, "patch": 8}


def scan(i: int) -> Voxels:
    values = np.random.default_rng(i).normal(50, 5, (10, 11, 9)).astype(np.float32)
    values[i % 5 : 5 + i % 5, 2:8, 3:6] += 40
    return Voxels(values, np.diag([1.0, 1, 1, 1]))


def segment_draft(size: str | None, widths: tuple[int, ...]) -> Draft:
    torch.manual_seed(0)
    modality = get("volume")(get("volume").Preprocess(**SPACING))
    encoder = build("stunet", {"widths": widths}, 8).eval()
    head = build_head("unet", encoder, {"labels": ("background", "bright")}).eval()
    items = [scan(i) for i in range(12)]
    example = modality.collate([modality.prepare(item)[0] for item in items[:3]])
    graphs = head.graphs(encoder, example)
    return Draft(
        modality="volume",
        preprocess=modality.preprocess.model_dump(mode="json"),
        size=size,
        encoder=encoder_graph(encoder, example),
        weights={name: tensor.numpy() for name, tensor in encoder.state_dict().items()},
        pooling=encoder.pooling,
        normalize=True,
        dimensions=encoder.dim,
        reference=Reference(lambda item: modality.prepare(item)[0].arrays, encode_with(encoder)),
        held_out=HeldOut("scans", "made by a test", items),
        licence="Apache-2.0",
        lineage=image_draft(vit()).lineage,
        graphs={name: TaskGraph(graph, task_graph(graph)) for name, graph in graphs.items()},
        tasks={"segment": head.spec()},
    )


@pytest.fixture(scope="module")
def drafts() -> list[Draft]:
    return [segment_draft("S", (4, 8)), segment_draft("B", (8, 16))]


@pytest.fixture
def store(home):
    return home / "bundles"


def test_every_size_is_judged_and_has_its_graphs_and_its_space(drafts, store):
    published = publish(drafts, "brain", store)
    manifest = published.manifest
    assert manifest.sizes == ("S", "B")
    assert {"encode_volume.S", "encode_volume.B", "segment.S", "segment.B"} == set(manifest.graphs)
    entry = manifest.entries["volume"]
    assert {size: facts.dimensions for size, facts in entry.sizes.items()} == {"S": 8, "B": 16}
    assert entry.space == entry.sizes["B"].space != entry.sizes["S"].space
    assert {check.name.split(":")[0] for check in published.report.checks} == {"size S", "size B"}
    small, large = enfold.open("brain", size="S"), enfold.open("brain")
    assert (small.embed([scan(0)]).vectors.shape, large.embed([scan(0)]).vectors.shape) == ((1, 8), (1, 16))
    assert small.embed([scan(0)]).space == entry.sizes["S"].space
    [answer] = large.predict([scan(0)])
    assert label_map(answer).shape == (10, 11, 9)
    with pytest.raises(UnknownName, match="size of brain@1: 'XL'"):
        enfold.open("brain", size="XL")


def test_weights_that_graphs_hold_alike_are_written_once(drafts, store):
    folder = publish(drafts[:1], "alone", store).path / "graphs"
    assert (folder / WEIGHTS).stat().st_size > 0
    encode, whole = (
        onnx.load(folder / f"{name}.S.onnx", load_external_data=False) for name in ("encode_volume", "segment")
    )
    outside = [
        {entry.key: entry.value for entry in tensor.external_data}["offset"]
        for model in (encode, whole)
        for tensor in model.graph.initializer
        if tensor.external_data
    ]
    assert len(outside) > len(set(outside)) > 0
    assert (enfold.open("alone").check()) > 0.99999


def test_sharing_changes_no_tensor_and_may_be_done_again(tmp_path):
    draft = image_draft(vit())
    for name in ("a", "b"):
        onnx.save(draft.encoder, tmp_path / f"{name}.onnx")
    before = {t.name: onnx.numpy_helper.to_array(t) for t in draft.encoder.graph.initializer}
    for _ in range(2):
        share(tmp_path)
        assert (tmp_path / WEIGHTS).exists()
        for name in ("a", "b"):
            found = onnx.load(tmp_path / f"{name}.onnx").graph.initializer
            for tensor in found:
                np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), before[tensor.name])
    (tmp_path / "b.onnx").unlink()
    share(tmp_path)
    assert not (tmp_path / WEIGHTS).exists()
    assert len(onnx.load(tmp_path / "a.onnx").graph.initializer) == len(before)


def test_a_tasks_graph_with_other_weights_is_refused(drafts, store):
    draft = drafts[0]
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(draft.graphs["segment"].model)
    for tensor in spoilt.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.ndim == 5 and array.shape[0] == 2:  # the map of classes
            tensor.CopyFrom(onnx.numpy_helper.from_array(array * np.float32(1.05), tensor.name))
    graph = TaskGraph(draft.graphs["segment"].twin, spoilt)
    with pytest.raises(GateRefused, match="size S: largest difference of out_segment of segment"):
        publish([dataclasses.replace(draft, graphs={"segment": graph})], "spoilt", store)
    assert not (store / "spoilt").exists()


def test_a_task_that_cannot_run_its_graph_is_refused(drafts, store):
    broken = dataclasses.replace(drafts[0], tasks={"segment": drafts[0].tasks["segment"] | {"graph": "elsewhere"}})
    with pytest.raises(GateRefused, match="task segment"):
        publish([broken], "broken", store)


def test_encoders_of_several_modalities_share_a_space_and_tasks_know_their_items(drafts, store):
    pair = _in_one_space([image_draft(vit()), dataclasses.replace(drafts[0], size=None)])
    manifest = publish(pair, "pair", store).manifest
    assert set(manifest.entries) == {"image", "volume"}
    assert manifest.entries["image"].space == manifest.entries["volume"].space
    assert _in_one_space(pair[:1]) == pair[:1]
    model = enfold.open("pair")
    picture = np.zeros((20, 20, 3), np.uint8)
    assert len(model.predict([scan(0)], "segment", entry="volume")) == 1
    with pytest.raises(WrongUse, match="task 'segment' of pair@1 answers volume items, not image"):
        model.predict([picture], "segment", entry="image")
    with pytest.raises(WrongUse, match="has several entries: name one of image, volume"):
        model.predict([picture])


def test_one_changed_tower_changes_the_shared_space():
    first, second, other = image_draft(vit()), image_draft(vit(1)), image_draft(vit(2))
    joint = {draft.space() for draft in _in_one_space([first, second])}
    assert len(joint) == 1
    assert joint != {draft.space() for draft in _in_one_space([first, other])}
    assert joint == {draft.space() for draft in _in_one_space([second, first])}


def test_a_graph_is_named_by_its_size_once():
    draft = dataclasses.replace(image_draft(vit()), size="S")
    assert draft.sized("step") == draft.sized("step.S") == "step.S"
