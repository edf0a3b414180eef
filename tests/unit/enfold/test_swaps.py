"""The task `swaps`: a probability for every token, where it stands in the text."""

from pathlib import Path

import numpy as np
import pytest
import torch

from enfold.modalities.text import TOKENIZER, Text, TextPreprocess
from enfold.tasks import Prepared
from enfold.tasks.swaps import Swaps, SwapsOptions, SwapsSpec, auc
from training import tokenizer
from training.encoders import build
from training.heads import load_head, run_by, save_head
from training.heads.swaps import Swaps as Head
from training.heads.swaps import SwapsConfig

TEXT = "A cat, an Übergröße 🙂 and 漢字."


@pytest.fixture
def text(tmp_path: Path) -> Text:
    (tmp_path / TOKENIZER).parent.mkdir()
    (tmp_path / TOKENIZER).write_text(tokenizer.train([TEXT, "a dog and a cat"], 300))
    return Text(TextPreprocess(max_tokens=64, overlap_tokens=0, prefix="say: "), folder=tmp_path)


def answers(text: Text, logits, values=(TEXT, "a dog"), **options):
    """Of a graph that gives `logits` of tokens in their order."""

    def graphs(name, inputs):
        assert name == "swaps"
        return {"out_swaps": np.resize(logits, inputs["input_ids"].shape).astype(np.float32)}

    task = Swaps(SwapsSpec(graph="swaps", max_tokens=64, prefix="say: "), text.folder)
    return task.run(graphs, Prepared([text.prepare(value) for value in values], {}), SwapsOptions(**options))


def test_tokens_lie_in_the_text_in_their_order(text):
    first, second = answers(text, [0.0])
    assert "".join(
        TEXT[one.start : one.end] for one in second.tokens
    )  # characters of several bytes have several tokens
    for found, value in ((first, TEXT), (second, "a dog")):
        ends = [(one.start, one.end) for one in found.tokens]
        assert ends == sorted(ends)  # a character of several bytes has several tokens
        assert set().union(*(range(start, end) for start, end in ends)) == set(range(len(value)))
        assert all(one.probability == 0.5 for one in found.tokens)


def test_those_less_likely_are_left_out(text):
    every, (some, _) = answers(text, [-3.0, 3.0])[0], answers(text, [-3.0, 3.0], least=0.5)
    assert 0 < len(some.tokens) < len(every.tokens)
    assert [one.probability for one in some.tokens] == pytest.approx([1 / (1 + np.exp(-3))] * len(some.tokens))


def test_its_quality_is_how_many_pairs_are_told_apart(text):
    task = Swaps(SwapsSpec(graph="swaps"), text.folder)
    found = answers(text, [1.0, 2.0, 3.0, 4.0], values=("a dog",))
    scores = np.array([one.probability for one in found[0].tokens])
    truth = (scores >= np.median(scores)).astype(int)
    assert task.measure(found, [truth.tolist()]) == {"auc": 1.0}
    assert task.measure(found, [(1 - truth).tolist()])["auc"] < 0.2
    assert auc(np.array([1.0, 1, 1, 1]), np.array([True, False, True, False])) == 0.5
    assert auc(np.array([3.0, 1, 2, 0]), np.array([True, False, False, True])) == 0.5
    assert auc(np.zeros(2), np.zeros(2, bool)) == 0.5


def test_the_trained_head_answers_by_its_graph(text, tmp_path):
    torch.manual_seed(0)
    encoder = build("bert", {"dim": 16, "depth": 1, "heads": 2, "positions": 64}, text.input_size).eval()
    head = Head(encoder, SwapsConfig(max_tokens=64, prefix="say: ")).eval()
    save_head(tmp_path / "head", head)
    saved = load_head(tmp_path / "head", encoder)
    inputs = text.collate([*text.prepare(TEXT), *text.prepare("a dog")])
    task = Swaps(SwapsSpec(**saved.spec), text.folder)
    graphs = run_by(saved.head.graphs(encoder, inputs))
    (answer,) = task.run(graphs, Prepared([text.prepare("a dog")], {}), SwapsOptions())
    with torch.inference_mode():
        alone = {name: torch.from_numpy(array) for name, array in text.collate(text.prepare("a dog")).items()}
        want = head(encoder(alone).tokens).softmax(2)[0, :, 1]
    np.testing.assert_allclose([one.probability for one in answer.tokens], want[-len(answer.tokens) :], atol=1e-6)
