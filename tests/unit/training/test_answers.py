"""Selecting answers: pairs as a server reads them, what is right and wrong, how rankings are counted."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from enfold import settings
from enfold.modalities import Sample
from enfold.modalities.text import TOKENIZER, Text, TextPreprocess
from enfold.tasks import Prepared
from enfold.tasks.rank import Rank, RankOptions, RankSpec
from training import recipe, tokenizer
from training.blocks.pairs import frame, joined, piece
from training.encoders import build
from training.evaluation.answer_selection import WordCounts, questions, ranked
from training.heads import load_head, run_by, save_head
from training.heads.pairs import Pairs, PairsConfig
from training.run import Run

TEXTS = ["a cat sat on a mat", "dogs ran over the hill and far away from here", "b", "the " * 30, "rain and snow " * 9]
MOST = 25  # so that two long texts get as many each; of an even one a longer text may get one more in serving


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Text:
    folder: Path = tmp_path_factory.mktemp("texts")
    (folder / TOKENIZER).parent.mkdir()
    (folder / TOKENIZER).write_text(tokenizer.train(TEXTS, 300, pairs=True))
    return Text(TextPreprocess(max_tokens=MOST, overlap_tokens=0), folder=folder)


def test_pairs_are_laid_out_and_cut_as_the_tokenizer_does(reader):
    """Training and serving read the same tokens, whatever the lengths."""
    begin, end = frame(reader)
    both = [(first, second) for first in TEXTS for second in TEXTS]
    first, second = (
        torch.from_numpy(np.stack([piece(reader, pair[side], MOST - 3) for pair in both])) for side in (0, 1)
    )
    made = joined(first, second, begin=begin, end=end, most=MOST)
    assert made["input_ids"].shape[1] == MOST
    own = Rank(RankSpec(by="pairs", graph="pairs", max_tokens=MOST), reader.folder)._pair_tokenizer
    for row, (one, other) in enumerate(both):
        want = own.encode(one, other)
        mask = made["attention_mask"][row].bool()
        assert made["input_ids"][row][mask].tolist() == want.ids
        assert made["token_type_ids"][row][mask].tolist() == want.type_ids
        assert not mask[len(want.ids) :].any()


def test_the_task_ranks_by_the_head_and_its_graph_is_the_trained_one(reader, tmp_path):
    torch.manual_seed(0)
    encoder = build("bert", {"dim": 16, "depth": 1, "heads": 2, "positions": MOST}, reader.input_size).eval()
    head = Pairs(encoder, PairsConfig(max_tokens=MOST)).eval()
    save_head(tmp_path, head)
    saved = load_head(tmp_path, encoder)
    inputs = reader.collate([reader.prepare(text)[0] for text in TEXTS])
    task = Rank(RankSpec(**saved.spec), reader.folder)
    samples = [[Sample({}, origin={"text": text})] for text in TEXTS]
    answers = task.run(run_by(saved.head.graphs(encoder, inputs)), Prepared(samples, {}), RankOptions(query=TEXTS[0]))
    begin, end = frame(reader)
    first, second = (
        torch.from_numpy(np.stack([piece(reader, text, MOST - 3) for text in texts]))
        for texts in ([TEXTS[0]] * len(TEXTS), TEXTS)
    )
    with torch.inference_mode():
        logits = head(encoder(joined(first, second, begin=begin, end=end, most=MOST)).tokens)
    np.testing.assert_allclose([answer.score for answer in answers], logits.softmax(1)[:, 1].numpy(), atol=1e-6)


def test_rankings_are_counted_as_they_are_defined():
    right = np.array([True, False, True, False])
    assert ranked(np.array([4.0, 3, 2, 1]), right) == (pytest.approx((1 + 2 / 3) / 2), 1, 1)
    assert ranked(np.array([1.0, 4, 3, 2]), right) == (pytest.approx((1 / 2 + 2 / 4) / 2), 1 / 2, 0)
    assert ranked(np.zeros(4), right) == (pytest.approx((1 / 3 + 2 / 4) / 2), 1 / 3, 0)  # a tie proves nothing


def test_bm25_and_tfidf_find_the_rare_word():
    words = WordCounts(["red apples grow", "red pears grow", "blue plums grow", "red zebras run"])
    texts = ["red pears", "red zebras", "nothing here"]
    for scores in (words.bm25("red zebras", texts), words.cosine("red zebras", texts)):
        assert np.argsort(-scores).tolist() == [1, 0, 2]
        assert scores[2] == 0
    longer = words.bm25("zebras", ["zebras", "zebras and many other words that say nothing of it at all really"])
    assert longer[0] > longer[1]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The method's own recipe on 150 small documents of 75 groups, two labels; every sentence names its document."""
    rng, rows = np.random.default_rng(0), []
    for i in range(150):
        said = [f"D{i} says {' '.join(rng.choice(TEXTS[1].split(), 4))}." for _ in range(6)]
        text = "\n\n".join(" ".join(said[at : at + 3]) for at in (0, 3))
        question = f"what does d{i} say"
        rows.append(
            {"id": str(i), "text": text, "question": question, "label": "ab"[i // 2 % 2], "group": f"g{i // 2}"}
        )
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "texts.parquet")
    small = [
        f"data.source={tmp_path / 'texts.parquet'}",
        "tokenizer.vocabulary=300",
        "stage.zero_shot.evaluations=['words_probe', 'answer_selection']",
        *(f"stage.{name}.train.batch=8" for name in ("tokens", "structure", "answers", "swaps")),
    ]
    facts = recipe.load("structural_ssl", smoke=True, overrides=small)
    stages = tuple(stage for stage in facts.stage if stage.verb != "export")
    return Run(facts.model_copy(update={"stage": stages}), settings.load())


def test_wrong_answers_are_of_other_groups_with_the_same_label(run):
    data = run.dataset.split("train")
    labels = {record.id: record.label for record in data.records}
    asked = questions(data, run, candidates=8, most=3, seed=0)
    assert len(asked) == len(data)
    for one in asked:
        own = re.search(r"d(\d+)", one.text)[1]
        of = np.array([re.match(r"D(\d+)", text)[1] for text in one.sentences])
        assert one.right.sum() == 3
        assert len(one.sentences) == 8
        assert ((of == own) == one.right).all()
        assert {labels[document] for document in of} == {labels[own]}
        assert not any(int(document) // 2 == int(own) // 2 for document in of[~one.right])
    places = [np.flatnonzero(one.right) for one in asked]
    assert 2 < np.mean(places) < 5  # anywhere among the others
    again = questions(data, run, candidates=8, most=3, seed=0)
    assert [one.sentences for one in again] == [one.sentences for one in asked]


def test_the_recipe_learns_ranks_and_detects(run):
    stages = run.carry_out()["stages"]
    assert stages["structure"]["figures"]["steps"] == 4
    assert stages["answers"]["figures"]["labels"] == few(run, 0.2)
    for name in ("zero_shot", "evaluate"):
        figures = stages[name]["figures"]
        for kind in ("", "bm25_", "tfidf_", "chance_"):
            assert 0 < figures[f"answer_selection_{kind}map"] <= 1
    words = {name: stages["zero_shot"]["figures"][f"words_probe_{name}"] for name in ("accuracy", "most_frequent")}
    assert 0 < words["accuracy"] < 1  # words of these texts say nothing of their labels
    assert 0.5 <= words["most_frequent"] < 0.7
    assert 0 < stages["detect"]["figures"]["swap_detection_auc"] < 1
    assert stages["detect"]["figures"]["swap_detection_rarity_auc"] > 0.5


def few(run: Run, share: float) -> int:
    return sum(round(share * int((run.dataset.split("train").labels() == label).sum())) for label in (0, 1))
