"""Every runtime gives the same arrays, from any thread; `auto` takes the fastest of those that give the right ones."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import enfold
from enfold import fastest, runtime
from enfold.errors import BundleInvalid, MissingExtra, UnknownName, WrongUse
from enfold.model import Model
from enfold.runtime import load, openvino
from tests import bundles

ON_CPU = ("onnxruntime", "openvino")


def texts(rows, length, seed=0):
    ids = np.random.default_rng(seed).integers(2, len(bundles.WORDS), (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


@pytest.fixture
def graph(text_bundle):
    return text_bundle.graph_file("encode_text", "fp32")


@pytest.fixture
def bf16_here(monkeypatch):
    """OpenVINO as it speaks on a processor with bf16; what this one lacks it computes in float32 all the same."""
    monkeypatch.setattr(openvino, "_has_bf16", lambda core: True)


def as_if_slow(monkeypatch, kind):
    """To `auto`, sessions of this class take 2 s and others 1 s."""
    monkeypatch.setattr(fastest, "_seconds", lambda golden, opened: 1 + (type(opened["encode_image"]).__name__ == kind))


@pytest.mark.parametrize("name", ON_CPU)
def test_outputs_are_the_caller_s_own(name, graph):
    session = load(name, graph, threads=1)
    first = session.run(texts(2, 3))["out_embedding"]
    kept = first.copy()
    session.run(texts(2, 3, seed=1))
    np.testing.assert_array_equal(first, kept)
    assert first.flags.writeable


@pytest.mark.parametrize("name", ON_CPU)
def test_many_threads_get_what_one_gets(name, graph):
    session = load(name, graph, threads=1)
    batches = [texts(rows, length, seed=rows) for rows in (1, 2, 7) for length in (1, 4, 8)] * 20
    alone = [session.run(batch)["out_embedding"] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda batch: session.run(batch)["out_embedding"], batches))
    for want, found in zip(alone, together, strict=True):
        np.testing.assert_array_equal(found, want)


def test_openvino_agrees_with_onnxruntime_and_keeps_the_graph_s_names(graph):
    first, second = (load(name, graph, threads=1) for name in ON_CPU)
    assert (second.inputs, second.outputs) == (first.inputs, first.outputs)
    for batch in (texts(1, 1), texts(3, 5), texts(32, 8)):
        np.testing.assert_allclose(second.run(batch)["out_embedding"], first.run(batch)["out_embedding"], rtol=1e-5)


def test_openvino_forgets_a_call_that_failed(graph):
    session = load("openvino", graph, threads=1)
    want = session.run(texts(2, 3))["out_embedding"]
    with pytest.raises(RuntimeError):
        session.run({"input_ids": np.ones(3, np.int64), "attention_mask": np.ones((2, 3), np.int64)})
    with pytest.raises(KeyError):  # and not what the call before left behind
        session.run({"input_ids": np.ones((2, 3), np.int64)})
    np.testing.assert_array_equal(session.run(texts(2, 3))["out_embedding"], want)


@pytest.mark.parametrize("name", ON_CPU)
def test_a_file_that_is_no_graph_is_one_sentence(name, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x01 this is no graph")
    with pytest.raises(BundleInvalid, match="is no graph that O"):
        load(name, tmp_path / "bad.onnx", threads=1)


def test_an_unknown_runtime_names_those_there_are(graph):
    with pytest.raises(UnknownName, match=r"Did you mean 'openvino'\? Known: cuda, onnxruntime, openvino, tensorrt"):
        load("openvine", graph, threads=1)


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_gpu_runtime_without_its_provider_says_what_to_install(name, graph):
    with pytest.raises(MissingExtra, match=r"ExecutionProvider: .*pip install 'enfold\[gpu\]'"):
        load(name, graph, threads=1)


def test_auto_takes_the_faster_and_says_why(image_bundle, monkeypatch):
    for slow, chosen in (("OpenVinoSession", "onnxruntime"), ("OnnxSession", "openvino")):
        as_if_slow(monkeypatch, slow)
        model = enfold.open("tiny", runtime="auto")
        assert model.runtime == chosen
        assert "onnxruntime" in model.why
        assert "openvino" in model.why
        assert "1e+03 ms" in model.why
        assert model.check() > 0.99999
        assert model.predict([np.zeros((16, 16, 3), np.uint8)])[0].label in bundles.LABELS


def test_auto_measures(image_bundle):
    model = enfold.open("tiny", runtime="auto")
    assert model.runtime in ON_CPU
    assert model.why.startswith("fastest here on 2 golden items: onnxruntime 0.")


def test_auto_passes_over_what_is_not_installed(image_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "openvino" not in enfold.open("tiny", runtime="auto").why


def test_auto_passes_over_what_gives_other_vectors(image_bundle, monkeypatch):
    def other_vectors(session, inputs, only):
        return {"out_embedding": np.ones((len(inputs["image"]), 8), np.float32)}

    monkeypatch.setattr(openvino.OpenVinoSession, "run", other_vectors)
    model = enfold.open("tiny", runtime="auto")
    assert model.runtime == "onnxruntime"
    assert "openvino is not fit (openvino (fp32) gives other vectors here than at export" in model.why


def test_auto_without_any_fit_runtime_says_what_is_wrong(image_bundle):
    golden = dict(np.load(image_bundle.path / "golden.npz"))
    golden["image/fp32/out_embedding"] *= -1
    np.savez(image_bundle.path / "golden.npz", **golden)
    with pytest.raises(BundleInvalid, match="gives other vectors here than at export"):
        Model(image_bundle, runtime="auto").check()


def test_a_head_that_the_fastest_cannot_load_runs_in_onnxruntime(image_bundle, monkeypatch):
    real = openvino.load

    def no_heads(path, **options):
        if "head" in path.name:
            raise BundleInvalid("an operator it does not know")
        return real(path, **options)

    monkeypatch.setattr(openvino, "load", no_heads)
    as_if_slow(monkeypatch, "OnnxSession")
    picture = np.zeros((16, 16, 3), np.uint8)
    model = enfold.open("tiny", runtime="auto")
    assert model.runtime == "openvino"
    assert model.predict([picture]) == enfold.open("tiny").predict([picture])
    with pytest.raises(BundleInvalid, match="an operator"):
        enfold.open("tiny", runtime="openvino").predict([picture])


def test_bf16_is_openvino_s_alone(graph, bf16_here):
    assert runtime.for_variant("bf16") == ("openvino",)
    assert load("openvino", graph, threads=1, variant="bf16").run(texts(2, 3))["out_embedding"].shape == (2, 8)
    with pytest.raises(WrongUse, match="runtime 'onnxruntime' cannot run variant 'bf16'; openvino can"):
        load("onnxruntime", graph, threads=1, variant="bf16")


def test_a_processor_without_bf16_says_so(graph, monkeypatch):
    monkeypatch.setattr(openvino, "_has_bf16", lambda core: False)
    with pytest.raises(WrongUse, match="this processor has no bf16: ask for variant fp32"):
        load("openvino", graph, threads=1, variant="bf16")


def test_a_state_that_begins_empty_is_run_by_every_runtime(home):
    """A step graph gets a cache of no length first."""
    bundle = bundles.speaker_bundle(home / "bundles")
    said = [Model(bundle, runtime=name).predict(["red a"], "generate", {"max_tokens": 5})[0].text for name in ON_CPU]
    assert said[0] == said[1] == "cat dog sat ran [PAD]"


def test_outputs_go_by_the_graph_s_names_where_tensors_are_one(tmp_path):
    """Two outputs of one tensor, and one that only renames an input's product."""
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w"], ["inner"]),
        *(node("Identity", ["inner"], [name]) for name in ("out_a", "out_b")),
    ]
    x, *out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 2]) for name in ("x", "out_a", "out_b"))
    weights = [numpy_helper.from_array(np.eye(2, dtype=np.float32) * 3, "w")]
    twins = helper.make_graph(nodes, "twins", [x], out, weights)
    onnx.save(helper.make_model(twins, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "g.onnx")
    found = load("openvino", tmp_path / "g.onnx", threads=1).run({"x": np.ones((1, 2), np.float32)})
    assert {name: array.tolist() for name, array in found.items()} == {"out_a": [[3, 3]], "out_b": [[3, 3]]}
