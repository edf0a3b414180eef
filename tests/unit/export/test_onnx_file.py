"""A bare ONNX file with its spec: pooled in the graph, equal to the file itself, or refused in a sentence."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

import enfold
from enfold.errors import EnfoldError, WrongUse
from export.commands import import_model
from tests.unit.export import drafts

TABLE = np.random.default_rng(0).normal(size=(len(drafts.WORDS) + 2, 8)).astype(np.float32)
SPEC = {
    "modality": "text",
    "licence": "MIT",
    "output": "last_hidden_state",
    "pooling": "mean",
    "normalize": True,
    "inputs": {"input_ids": "ids"},
    "zeros": ["token_type_ids"],
    "preprocess": {"tokenizer": "words.json", "max_tokens": 16, "overlap_tokens": 2},
}


@pytest.fixture
def data(tmp_path):
    return str(drafts.manifest(tmp_path / "texts.jsonl"))


@pytest.fixture
def model(tmp_path):
    """Word vectors plus one of a token type, as Hugging Face's own exports ask for it; the mask goes unused."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "ids"], ["words"]),
        node("Gather", ["types", "token_type_ids"], ["kinds"]),
        node("Cast", ["attention_mask"], ["unused"], to=TensorProto.FLOAT),
        node("Add", ["words", "kinds"], ["last_hidden_state"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"])
        for name in ("ids", "attention_mask", "token_type_ids")
    ]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["B", "T", 8])]
    stored = [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.eye(2, 8, dtype=np.float32), "types")]
    graph = helper.make_graph(nodes, "words", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    words = {"[UNK]": 0, "[PAD]": 1} | {word: i + 2 for i, word in enumerate(drafts.WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "words.json"))
    (tmp_path / "m.json").write_text(json.dumps(SPEC))
    return tmp_path / "m.onnx"


def imported(model, data, **changes):
    spec = model.with_suffix(".json")
    spec.write_text(json.dumps(SPEC | changes))
    return import_model(model, "words", spec=spec, data=data)


def test_a_bare_file_is_pooled_over_its_real_tokens(model, data):
    found = imported(model, data)
    bundle = enfold.open("words")
    [vector, other] = bundle.embed(["the cat sat", "rain " * 30]).vectors
    rows = [drafts.WORDS.index(word) + 2 for word in ("the", "cat", "sat")]
    expected = TABLE[rows].mean(0) + np.eye(2, 8)[0]
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert not np.allclose(vector, other)
    assert bundle.bundle.manifest.graphs["encode_text"].inputs == ("input_ids", "attention_mask")
    assert bundle.bundle.manifest.graphs["encode_text"].outputs == ("out_embedding", "out_tokens")
    assert bundle.bundle.manifest.licence == "MIT"
    assert found["fp32_cosine"] >= 0.99999


def test_pooling_and_weights_belong_to_the_space(model, data):
    mean, cls = imported(model, data)["space"], imported(model, data, pooling="cls")["space"]
    changed = onnx.load(model)
    changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(TABLE * 1.001, "table"))
    onnx.save(changed, model)
    assert len({mean, cls, imported(model, data)["space"]}) == 3


def test_a_picture_encoder_without_pooling(tmp_path):
    node = helper.make_node
    nodes = [
        node("AveragePool", ["pixels"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "weight"], ["features"]),
    ]
    weight = np.random.default_rng(0).normal(size=(48, 8)).astype(np.float32)
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["B", 3, 16, 16])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", 8])
    graph = helper.make_graph(nodes, "g", [pixels], [features], [numpy_helper.from_array(weight, "weight")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "p.onnx")
    (tmp_path / "p.toml").write_text(
        'modality = "image"\nlicence = "MIT"\noutput = "features"\npooling = "none"\nnormalize = true\n'
        'inputs = { image = "pixels" }\npreprocess = { size = 16 }\n'
    )
    photos = drafts.photos(tmp_path / "photos", 40)
    import_model(tmp_path / "p.onnx", "pictures", data=str(photos))
    assert enfold.open("pictures").embed([next(photos.rglob("*.png"))]).vectors.shape == (1, 8)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"colour": 1}, "colour: Extra inputs are not permitted. Keys: modality, licence, output"),
        ({"pooling": "max"}, "pooling: Input should be 'mean', 'cls' or 'none'"),
        (
            {"preprocess": {"tokenizer": "words.json", "maximum": 3}},
            "preprocess.maximum: .* Keys: tokenizer, max_tokens",
        ),
        ({"preprocess": {"tokenizer": "nowhere.json"}}, "nowhere.json is not a tokenizer.json"),
        ({"modality": "smell"}, "unknown modality 'smell'"),
        ({"output": "last_state"}, "Did you mean 'last_hidden_state'"),
        ({"inputs": {}}, "takes inputs attention_mask, ids, token_type_ids; the spec gives"),
        ({"pooling": "none"}, r"with pooling 'none' has shape \[1, 16, 8\], not \[B, D\]"),
    ],
)
def test_a_wrong_spec_is_one_sentence(model, data, home, changes, sentence):
    with pytest.raises(WrongUse, match=sentence):
        imported(model, data, **changes)
    assert not (home / "bundles").exists()


@pytest.mark.parametrize("content", [b"", b"this is no graph", b"\x08\x07"])
def test_a_file_that_is_not_onnx_is_one_sentence(model, data, home, content):
    model.write_bytes(content)
    with pytest.raises(WrongUse, match="is not an ONNX model"):
        imported(model, data)
    assert not (home / "bundles").exists()


def test_a_spec_that_is_missing_or_no_toml_is_one_sentence(model, data, tmp_path):
    with pytest.raises(WrongUse, match=r"there is no spec .*m\.toml: write one, see enfold import --help"):
        import_model(model, "words", data=data)
    (tmp_path / "m.toml").write_text("modality = ")
    with pytest.raises(WrongUse, match="cannot be read as TOML or JSON"):
        import_model(model, "words", data=data)
    with pytest.raises(WrongUse, match="there is no model"):
        import_model(tmp_path / "nothing.onnx", "words")


def test_weights_outside_the_folder_are_not_read(model, data, tmp_path, home):
    """A foreign file may name any path for its weights; only its own folder is looked into."""
    foreign = onnx.load(model)
    tensor = foreign.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    model.write_bytes(foreign.SerializeToString())
    with pytest.raises(EnfoldError, match="is not an ONNX model"):
        imported(model, data)
