"""Importing text encoders: what the folder says is what the bundle does; one that cannot be kept is refused."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import enfold
from enfold import cli
from enfold.errors import EnfoldError, MissingExtra, WrongUse
from export.commands import import_model
from export.held_out import held_out, short_and_long
from export.pooling import POOLINGS
from tests.unit.export import drafts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drafts.model_folder(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def spoilt(tmp_path):
    """A fresh copy of the folder, to spoil."""
    return drafts.model_folder(tmp_path / "bert")


@pytest.fixture
def data(tmp_path):
    return str(drafts.manifest(tmp_path / "texts.jsonl"))


def by_hand(folder, texts, *, max_tokens=24):
    """Vectors as sentence-transformers makes them: transformers' tokenizer and model, mean pooling, unit length."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
    with torch.inference_mode():
        tokens = model(**inputs).last_hidden_state
    vectors = POOLINGS["mean"](tokens, inputs["attention_mask"]).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_an_imported_folder_embeds_as_its_own_library_does(folder, data):
    found = import_model(folder, "bert", data=data)
    assert found["fp32_cosine"] >= 0.99999
    assert found["items"] == 40
    texts = ["cat", "The dog sat under the old tree", " ".join(drafts.WORDS * 5)]
    embedded = enfold.open("bert").embed(texts)
    np.testing.assert_allclose(embedded.vectors, by_hand(folder, texts), atol=2e-6)
    assert embedded.space == found["space"]
    assert str(folder) not in json.dumps(enfold.open("bert").bundle.manifest.model_dump(mode="json"))


def test_prompt_lower_case_truncation_and_a_missing_normalize_are_kept(spoilt, data):
    drafts.write(spoilt / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": True})
    prompts = {"query": "query : ", "document": "on "}
    drafts.write(spoilt / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": "query"})
    modules = json.loads((spoilt / "modules.json").read_bytes())
    drafts.write(spoilt / "modules.json", modules[:2])
    import_model(spoilt, "asked", data=data)
    model = enfold.open("asked")
    facts = model.facts()
    assert (facts.preprocess["max_tokens"], facts.preprocess["prefix"], facts.normalize) == (12, "query : ", False)
    [loud, quiet] = model.embed(["THE Cat SAT", "the cat sat"]).vectors
    np.testing.assert_array_equal(loud, quiet)
    assert abs(np.linalg.norm(loud) - 1) > 0.01
    expected = by_hand(spoilt, ["query : the cat sat"], max_tokens=12)[0]
    np.testing.assert_allclose(loud / np.linalg.norm(loud), expected, atol=2e-6)
    ranks = model.predict(["the cat sat", "a dog"], "rank", options={"query": "the cat sat"})
    assert ranks[0].score == pytest.approx(1, abs=1e-5)  # both begin with the prompt of queries
    assert ranks[0].score > ranks[1].score
    assert "put 'on ' before the text" in (model.bundle.path / "README.md").read_text()


def test_another_tokenizer_is_another_space(folder, spoilt, data):
    lower = {"max_seq_length": 24, "do_lower_case": True}
    drafts.write(spoilt / "sentence_bert_config.json", lower)
    assert import_model(folder, "bert", data=data)["space"] != import_model(spoilt, "bert", data=data)["space"]


@pytest.fixture
def table(spoilt):
    """A folder of sentence-transformers' static kind: a table of token vectors, whose mean is the embedding."""
    words = len(json.loads((spoilt / "tokenizer.json").read_bytes())["model"]["vocab"])
    vectors = torch.randn(words, 16, generator=torch.Generator().manual_seed(0))
    save_file({"embedding.weight": vectors}, spoilt / "model.safetensors")
    kinds = ("StaticEmbedding", "Normalize")
    drafts.write(spoilt / "modules.json", [{"type": f"st.models.{kind}", "path": ""} for kind in kinds])
    return spoilt, vectors.numpy()


def test_a_static_embedding_is_the_mean_of_its_words_and_of_nothing_else(table, data):
    folder, vectors = table
    found = import_model(folder, "table", data=data)
    assert found["fp32_cosine"] >= 0.99999
    known = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
    model = enfold.open("table")
    embedded = model.embed(["the cat", "cat"]).vectors
    the, cat = (vectors[known[word]] for word in ("the", "cat"))
    for got, expected in zip(embedded, (the + cat, cat), strict=True):
        np.testing.assert_allclose(got, expected / np.linalg.norm(expected), atol=1e-6)
    assert model.facts().preprocess["max_tokens"] == 512
    [alone], [beside, _] = model.embed(["cat"]).vectors, model.embed(["cat", "the dog sat under"]).vectors
    np.testing.assert_allclose(alone, beside, atol=1e-6)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"other": torch.zeros(3, 4)}, "holds other; a static embedding is one table"),
        ({"embeddings": torch.zeros(4)}, "is one table"),
        ({"embeddings": torch.zeros(3, 4), "weights": torch.zeros(3)}, "holds embeddings, weights"),
    ],
)
def test_a_table_of_another_shape_is_refused(table, data, tensors, sentence):
    save_file(tensors, table[0] / "model.safetensors")
    with pytest.raises(WrongUse, match=sentence):
        import_model(table[0], "table", data=data)


@pytest.mark.parametrize("name", POOLINGS)
def test_no_pooling_looks_at_padding(name):
    tokens = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    pooled = POOLINGS[name](tokens, mask)[1]
    torch.testing.assert_close(pooled, POOLINGS[name](tokens[1:, :3], mask[1:, :3])[0])


def drop(name):
    return lambda folder: (folder / name).unlink()


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def listing(kind):
    return lambda folder: drafts.write(folder / "modules.json", [{"type": f"st.models.{kind}", "path": ""}])


def pooled(**config):
    return lambda folder: drafts.write(folder / "1_Pooling" / "config.json", config)


def remote(folder):
    config = {"model_type": "strange", "auto_map": {"AutoModel": "code.Net"}}
    drafts.write(folder / "config.json", config)
    (folder / "code.py").write_text("raise SystemExit('code of the folder was run')")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: [drop(name)(folder) for name in ("modules.json", "config.json")], "is no model folder"),
        (drop("model.safetensors"), "holds no weights: save the model as safetensors"),
        (pickled, r"only pytorch_model.bin, a pickle, which is never opened"),
        (drop("tokenizer.json"), "holds no tokenizer.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "cannot be loaded by transformers"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded by transformers|is not JSON"),
        (remote, "cannot be loaded by transformers"),
        (listing("Dense"), "modules.json lists 'Dense'"),
        (listing("Pooling"), "modules.json lists 'Pooling'"),
        (listing("StaticEmbedding"), "a static embedding is one table"),
        (lambda folder: drafts.write(folder / "modules.json", ["Transformer"]), "not as sentence-transformers writes"),
        (lambda folder: (folder / "modules.json").write_text("[{"), "is not JSON"),
        (pooled(pooling_mode_lasttoken=True), "pooling 'lasttoken' is not known. Known: mean, cls, max."),
        (pooled(pooling_mode_cls_token=True, pooling_mode_mean_tokens=True), r"pooling 'cls \+ mean' is not known"),
        (pooled(), "pooling 'none' is not known"),
        (pooled(pooling_mode_mean_tokens=True, include_prompt=False), "include_prompt = false"),
        (lambda folder: drafts.write(folder / "sentence_bert_config.json", {"max_seq_length": 2}), "is 2; set it to 8"),
    ],
)
def test_a_folder_that_cannot_be_kept_is_one_sentence(spoilt, home, data, spoil, sentence, capsys):
    spoil(spoilt)
    with pytest.raises(WrongUse, match=sentence):
        import_model(spoilt, "bert", data=data)
    assert not (home / "bundles").exists()


def test_the_command_prints_the_sentence_alone(tmp_path, capsys):
    assert cli._run(["import", str(tmp_path), "--name", "x"], False) == 2
    said = capsys.readouterr().err
    assert (
        said.splitlines()[-1] == f"enfold: {tmp_path} is no model folder: it holds neither modules.json nor config.json"
    )


def test_a_missing_library_names_its_extra(folder, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'enfold\[train\]'"):
        import_model(folder, "bert", data=data)


def test_pictures_cannot_judge_a_text_encoder(folder, tmp_path, home):
    with pytest.raises(EnfoldError, match="photos holds no text files"):
        import_model(folder, "bert", data=str(drafts.photos(tmp_path / "photos", 12)))


def test_without_any_data_set_texts_are_still_real_short_and_long(tmp_path):
    found = held_out("text", None, tmp_path)
    words = np.array([len(text.split()) for text in found.items])
    assert len(set(found.items)) == len(words) > 3000
    assert np.percentile(words, 1) < 5 < 200 < np.percentile(words, 99)
    with pytest.raises(WrongUse, match="enfold data fetch emoji"):
        held_out("image", None, tmp_path)


def test_documents_are_also_judged_by_the_sentence():
    texts = short_and_long(["One is here. Two is there.\n\nThree?"] * 3)
    assert sorted(texts) == sorted(
        [
            "One is here. Two is there.\n\nThree?",
            "One is here. Two is there.",
            "Three?",
            "One is here.",
            "Two is there.",
        ]
    )
