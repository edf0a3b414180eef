"""A new encoder joins the space of a bundle that is there: its vectors search what that has filled."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import enfold
from enfold import settings, wire
from enfold.errors import BundleInvalid, SpaceMismatch, UnknownName, WrongUse
from serving.index import Points, Query, open_index
from tests import bundles
from tests.unit.export import drafts
from training import recipe
from training.encoders import build
from training.run import Run

TEXTS = ["a red cat", "a green dog", "a blue cat"]
RECIPE = """
slug = "joining"
modality = "image"
data = { source = "SOURCE" }
preprocess = { size = 16 }
encoder.name = "projected"
encoder.config = { name = "vit", config = { patch = 8, dim = 16, depth = 1, heads = 2 }, dim = 8 }
sides.caption = { modality = "text", joins = "words@1" }

[[stage]]
name = "pretrain"
verb = "pretrain"
method = "clip_quality_captions"
train = { steps = 60, batch = 8, lr = 1e-2, precision = "fp32" }
config = { caption_source = ["caption"], text_encoder = { name = "joined", config = { bundle = "words@1" } } }

[[stage]]
name = "match"
verb = "evaluate"
needs = ["pretrain"]
evaluations = ["caption_retrieval"]

[[stage]]
name = "export"
verb = "export"
bundle = "shades"
needs = ["pretrain"]
"""


def page(folder: Path) -> Path:
    """A recipe on sixty pictures in three colours, each with its caption."""
    photos = drafts.photos(folder / "photos")
    captions = {text.split()[1]: text for text in TEXTS}
    rows = [
        {"path": str(file.relative_to(photos)), "label": file.parent.name, "caption": captions[file.parent.name]}
        for file in sorted(photos.rglob("*.png"))
    ]
    (photos / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "joining.toml").write_text(RECIPE.replace("SOURCE", str(photos / "pairs.jsonl")))
    return folder / "joining.toml"


@pytest.fixture
def words(home: Path) -> enfold.bundle.Bundle:
    return bundles.text_bundle(home / "bundles")


def test_vectors_of_the_new_bundle_search_collections_of_the_old_one(words, tmp_path: Path):
    before = {file.name: file.read_bytes() for file in words.path.rglob("*") if file.is_file()}
    story = Run(recipe.load(str(page(tmp_path))), settings.load()).carry_out()
    old, new = enfold.open("words"), enfold.open("shades")
    facts = new.bundle.manifest
    assert list(facts.entries) == ["image"]  # the frozen tower stays in its bundle
    entry = facts.entries["image"]
    assert (entry.space, entry.dimensions, entry.joins) == (old.facts().space, 8, "words@1")
    assert facts.lineage.parents == ("words@1",)
    assert facts.metrics["match.caption_retrieval_r1"] == story["stages"]["match"]["figures"]["caption_retrieval_r1"]
    assert {file.name: file.read_bytes() for file in words.path.rglob("*") if file.is_file()} == before
    index = open_index(settings.load(), "")
    try:
        about = {"model": "words@1", "entry": "text", "modality": "text", "space": old.facts().space, "dimensions": 8}
        kept = index.create(wire.NewCollection(name="captions", **about))
        ids = [f"00000000-0000-0000-0000-{row:012}" for row in range(3)]
        kept.upsert(Points(ids, old.embed(TEXTS).vectors, [{}] * 3, old.facts().space))
        for row, text in enumerate(TEXTS):
            photo = next((tmp_path / "photos" / text.split()[1]).glob("*.png"))
            embedded = new.embed([photo])
            assert embedded.space == kept.facts.space
            assert kept.query(Query(embedded.vectors[0], limit=1, exact=True))[0].id == ids[row]
        with pytest.raises(SpaceMismatch):
            kept.upsert(Points(ids[:1], embedded.vectors, [{}], "sp_another"))
    finally:
        index.close()


def test_a_joined_tower_is_the_bundle_and_has_nothing_to_learn(words):
    tower, model = build("joined", {"bundle": "words@1"}, len(bundles.WORDS)), enfold.open("words")
    inputs = model.modalities["text"].collate([model.prepare(text)[0] for text in TEXTS])
    found = tower({name: torch.from_numpy(array) for name, array in inputs.items()}).embedding
    np.testing.assert_array_equal(found.numpy(), model.session("encode_text").run(inputs, None)["out_embedding"])
    assert not list(tower.parameters())
    assert not tower.state_dict()


def test_a_tower_that_was_changed_is_not_joined(words):
    file = words.path / "graphs/encode_text.onnx"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(BundleInvalid, match="does not match its digest"):
        build("joined", {"bundle": "words@1"}, len(bundles.WORDS))


@pytest.mark.parametrize("ref", ["words", "words@prod", "words@0"])
def test_an_alias_may_move_and_is_not_joined(words, ref: str):
    with pytest.raises(WrongUse, match="bundle"):
        build("joined", {"bundle": ref}, len(bundles.WORDS))


def test_a_bundle_that_is_not_there_is_named(home, tmp_path: Path):
    with pytest.raises(UnknownName, match="words"):
        recipe.load(str(page(tmp_path)))


def test_what_is_read_otherwise_is_told_how(words):
    with pytest.raises(WrongUse, match="joins = 'words@1'"):
        build("joined", {"bundle": "words@1"}, 300)


@pytest.mark.parametrize(
    ("joins", "words"),
    [('"words@1", preprocess = { max_tokens = 8 }', "leave out preprocess"), ('"words"', "joins")],
)
def test_a_side_that_joins_says_nothing_else(home, tmp_path: Path, joins: str, words: str):
    asked = page(tmp_path)
    asked.write_text(asked.read_text().replace('joins = "words@1"', f"joins = {joins}"))
    with pytest.raises(WrongUse, match=words):
        recipe.load(str(asked))


def test_towers_of_other_widths_do_not_meet(words, tmp_path: Path):
    narrow: Any = page(tmp_path).read_text().replace("dim = 8 }", "dim = 6 }")
    (tmp_path / "joining.toml").write_text(narrow)
    with pytest.raises(WrongUse, match="6 features, the text encoder 8"):
        Run(recipe.load(str(tmp_path / "joining.toml")), settings.load()).carry_out()
