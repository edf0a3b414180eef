"""The gate: an honest bundle passes, and every way of spoiling one is refused with nothing left behind."""

import dataclasses
import json
import resource
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import enfold
from enfold.errors import GateRefused, MissingExtra, Unavailable, WrongUse
from enfold.runtime import openvino
from export import onnx as graphs
from export import variants
from export.draft import encode_with
from export.onnx import OUTPUTS, Positional, _exported
from export.publish import GOLDEN, publish
from tests.unit.export.drafts import SIZE, VIT, image_draft, three_way, vit
from training.encoders import build


@pytest.fixture(scope="module")
def draft():
    return image_draft(vit())


@pytest.fixture
def store(home):
    return home / "bundles"


def refused(draft, store):
    with pytest.raises(GateRefused) as error:
        publish([draft], "spoilt", store)
    assert not list(store.iterdir()), "a refused export left something behind"
    return str(error.value)


def spoilt(draft, change):
    """The draft with its graph changed; `change` works on the protobuf."""
    model = graphs.copy(draft.encoder)
    change(model)
    return dataclasses.replace(draft, encoder=model)


def edit(model, like, change):
    """Replace the stored tensor that equals `like`, whatever the exporter called it."""
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.shape == like.shape and np.array_equal(array, like):
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(array)), tensor.name))
            return
    raise AssertionError("the graph does not hold that tensor")


def test_an_honest_bundle_is_published_with_its_figures_and_again_into_the_same_space(draft, store):
    published = publish([draft], "honest", store)
    report = json.loads((published.path / "export_report.json").read_bytes())
    assert all(check["passed"] for check in report["checks"] if check["variant"] == "fp32")
    assert report["items"] == 40
    assert published.report.worst("cosine to") >= 0.99999
    assert {f"batch of {size}" in str(report["checks"]) for size in (1, 2, 7, 32)} == {True}
    for variant in published.manifest.variants:
        assert enfold.open("honest", variant=variant).check() > 0.999
    assert "fp16" in published.manifest.variants
    assert "40 held-out items of pictures" in (published.path / "README.md").read_text()
    with np.load(published.path / "golden.npz") as golden:
        kept = golden["image/in/image"]
    real = [draft.reference.prepare(item)["image"] for item in draft.held_out.items]
    assert len(kept) == GOLDEN
    assert all(any(np.array_equal(one, item) for item in real) for one in kept)

    again = publish([draft], "honest", store)
    assert (published.manifest.version, again.manifest.version) == (1, 2)
    assert again.manifest.entries["image"].space == published.manifest.entries["image"].space


def test_the_graph_tells_nothing_of_the_machine_that_wrote_it(draft):
    written = draft.encoder.SerializeToString()
    assert not any(word in written for word in (b"site-packages", b".py", b"stack_trace", b"/training/"))


def test_swapped_channels_are_refused(draft, store):
    weight = draft.weights["net.patch_embed.proj.weight"]
    said = refused(spoilt(draft, lambda model: edit(model, weight, lambda w: w[:, ::-1])), store)
    assert "not published" in said
    assert "cosine to the trained encoder, batch of 1" in said


def test_a_wrong_epsilon_is_refused_though_no_cosine_sees_it(store):
    """torch's default where timm has 1e-6, on the small variances that a ViT starts from."""

    def change(model):
        norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
        for attribute in (attribute for node in norms for attribute in node.attribute if attribute.name == "epsilon"):
            assert attribute.f == pytest.approx(1e-6)
            attribute.f = 1e-5
        assert norms

    torch.manual_seed(0)
    fresh = image_draft(build("vit", VIT, SIZE).eval())
    said = refused(spoilt(fresh, change), store)
    assert "relative difference of out_embedding" in said
    assert "cosine" not in said


def test_a_frozen_batch_axis_is_refused(draft, store):
    example = {"image": np.stack([draft.reference.prepare(item)["image"] for item in draft.held_out.items[:2]])}
    frozen = _exported(Positional(vit(), ("image",)), example, ({},), list(OUTPUTS))
    said = refused(dataclasses.replace(draft, encoder=frozen), store)
    assert "a batch of 1: " in said
    assert "a batch of 7: " in said
    assert "a batch of 2: " not in said


def test_shuffled_positions_are_refused(draft, store):
    positions, order = draft.weights["net.pos_embed"], np.random.default_rng(0).permutation(17)
    said = refused(spoilt(draft, lambda model: edit(model, positions, lambda p: p[:, order])), store)
    assert "cosine to the trained encoder" in said


def test_a_head_with_other_weights_is_refused(draft, store):
    head = graphs.copy(draft.heads["classify"])
    bias = three_way().bias.detach().numpy()
    edit(head, bias, lambda b: b * np.float32(1.1))
    said = refused(dataclasses.replace(draft, heads={"classify": head}), store)
    assert "largest difference of out_classify" in said


@pytest.mark.parametrize("changed", [{"mean": [0.5, 0.5, 0.5]}, {"fit": "squash", "filter": "bilinear"}])
def test_other_preprocessing_than_training_s_is_refused(draft, store, changed):
    said = refused(dataclasses.replace(draft, preprocess=draft.preprocess | changed), store)
    assert "difference of prepared inputs from training's" in said


def trained_like_this(draft, name, change):
    """The draft of an encoder whose weight `name` came out so; graph and reference agree."""
    encoder, before = vit(), draft.weights[name]
    with torch.no_grad():
        dict(encoder.named_parameters())[name].copy_(torch.from_numpy(change(before)))
    reference = dataclasses.replace(draft.reference, encode=encode_with(encoder, {"classify": three_way()}))
    return dataclasses.replace(spoilt(draft, lambda model: edit(model, before, change)), reference=reference)


def test_a_collapsed_encoder_is_refused(draft, store):
    """It hardly looks at the image."""
    blind = trained_like_this(draft, "net.patch_embed.proj.weight", lambda w: w * np.float32(1e-4))
    assert "spread of the vectors" in refused(blind, store)


def test_vectors_along_one_line_are_refused(store):
    """The last norm keeps one feature of sixteen and gives everything else to all alike."""
    encoder = vit()
    with torch.no_grad():
        encoder.net.norm.weight[1:] = 0
        encoder.net.norm.bias.fill_(0.5)
    assert "effective rank of the vectors" in refused(image_draft(encoder), store)


def test_too_few_items_are_refused(draft, store):
    few = dataclasses.replace(draft.held_out, items=draft.held_out.items[:10], labels=None)
    assert "10 distinct held-out items" in refused(dataclasses.replace(draft, held_out=few), store)
    same = dataclasses.replace(draft.held_out, items=[draft.held_out.items[0]] * 30, labels=None)
    assert "1 distinct held-out items" in refused(dataclasses.replace(draft, held_out=same), store)


def test_a_variant_that_finds_other_neighbours_is_dropped_with_its_figure(draft, store, monkeypatch):
    def noisy(draft, path):
        changed, rng = graphs.copy(draft.encoder), np.random.default_rng(0)
        for tensor in changed.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype == np.float32 and array.ndim > 1:
                array = (array + rng.normal(size=array.shape, scale=0.1)).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        onnx.save(changed, path)

    monkeypatch.setattr(variants, "candidates", lambda: {"noisy": noisy, "fp16": variants.fp16})
    published = publish([draft], "honest", store)
    assert published.manifest.variants == ("fp32", "fp16")
    assert "recall@10" in published.report.dropped["noisy"]
    assert "≥ 0.98 needed (40 items)" in published.report.dropped["noisy"]
    assert not list((published.path / "graphs").glob("*noisy*"))
    assert "`noisy` was tried and is not here" in (published.path / "README.md").read_text()


def test_a_variant_that_cannot_be_made_or_run_is_dropped(draft, store, monkeypatch):
    def impossible(draft, path):
        path.write_bytes(b"half")
        raise ValueError("no rule for this node")

    def unreadable(draft, path):
        path.write_bytes(b"this is no graph")

    monkeypatch.setattr(variants, "candidates", lambda: {"impossible": impossible, "unreadable": unreadable})
    published = publish([draft], "honest", store)
    assert published.manifest.variants == ("fp32",)
    assert "no rule for this node" in published.report.dropped["impossible"]
    assert "unreadable" in published.report.dropped
    enfold.open("honest")  # and no stray file spoils the digests


def test_bf16_is_dropped_where_the_processor_has_none(draft, store, monkeypatch):
    monkeypatch.setattr(openvino, "_has_bf16", lambda core: False)
    published = publish([draft], "honest", store)
    assert "bf16" not in published.manifest.variants
    assert published.report.dropped["bf16"] == "could not be made: this processor has no bf16"
    assert "`bf16` was tried and is not here" in (published.path / "README.md").read_text()


def test_bf16_is_judged_in_openvino_and_has_no_file_of_its_own(draft, store, monkeypatch):
    """As on a processor that has it; what this one lacks it computes in float32 all the same."""
    monkeypatch.setattr(openvino, "_has_bf16", lambda core: True)
    published = publish([draft], "honest", store)
    assert "bf16" in published.manifest.variants
    files = published.manifest.graphs["encode_image"].files
    assert files["bf16"] == files["fp32"]
    assert any("recall@10" in check.name for check in published.report.checks if check.variant == "bf16")
    model = enfold.open("honest", variant="bf16")
    assert model.runtime == "openvino"
    assert model.check() > 0.999
    assert model.predict([draft.held_out.items[0]])[0].label in draft.tasks["classify"]["labels"]
    with pytest.raises(WrongUse, match="runtime 'onnxruntime' cannot run variant 'bf16'"):
        enfold.open("honest", variant="bf16", runtime="onnxruntime").check()

    def vectors_of_its_own(session, inputs, only=None):
        return {name: array[::-1] for name, array in honest(session, inputs, only).items()}

    honest = openvino.OpenVinoSession.run
    monkeypatch.setattr(openvino.OpenVinoSession, "run", vectors_of_its_own)
    spoilt = publish([draft], "honest", store)
    assert spoilt.manifest.variants == tuple(v for v in published.manifest.variants if v != "bf16")
    assert "bf16" in spoilt.report.dropped
    assert (spoilt.path / files["fp32"]).exists()


def test_big_weights_go_into_a_file_of_their_own(draft, store, monkeypatch):
    monkeypatch.setattr(graphs, "INLINE_BYTES", 1000)
    published = publish([draft], "big", store)
    assert (published.path / "graphs" / "encode_image.data").stat().st_size > 10_000
    assert published.report.megabytes["fp32"] > 0.01
    assert all(enfold.open("big", variant=variant).check() > 0.999 for variant in published.manifest.variants)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(draft, store):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))  # no file may grow further, as on a disk without room
    try:
        with pytest.raises(Unavailable, match=r"writing bundle 'full' failed .* nothing was published"):
            publish([draft], "full", store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(store.iterdir())


@pytest.mark.parametrize("name", ["", "Upper", "../up", "-dash", "a/b", "x" * 64, "a b", "ümlaut", "a\n"])
def test_a_name_that_is_no_name_is_refused_before_anything_is_written(draft, store, name):
    with pytest.raises(WrongUse, match="is not allowed"):
        publish([draft], name, store)
    assert not store.exists()


def test_a_missing_runtime_names_its_extra(draft, store, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"pip install 'enfold\[cpu\]'"):
        publish([draft], "none", store)
    assert not list(store.iterdir())
