"""What makes it these objectives and no others: the card's invariants."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.text import TOKENIZER, Text, TextPreprocess
from training import tokenizer
from training.blocks.pairs import NOTHING
from training.encoders import build
from training.methods import Batch, Item
from training.methods.structural_ssl import PAIRS, Structural
from training.views.text import paragraphs, sentences

PREPROCESS = TextPreprocess(max_tokens=40, overlap_tokens=0)
WORDS = ["cat", "dog", "bird", "fish", "tree", "hill", "lake", "moon", "star", "wind", "rain", "snow"]


def document(number: int, rng: np.random.Generator) -> str:
    """Three paragraphs of three sentences, each with a word for the document, its paragraph and itself."""
    made = []
    for paragraph in range(3):
        said = [f"D{number} p{paragraph} s{sentence} {rng.choice(WORDS)} {rng.choice(WORDS)}." for sentence in range(3)]
        made.append(" ".join(said))
    return "\n\n".join(made)


DOCUMENTS = [document(i, np.random.default_rng(i)) for i in range(12)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Text:
    folder: Path = tmp_path_factory.mktemp("texts")
    (folder / TOKENIZER).parent.mkdir()
    (folder / TOKENIZER).write_text(tokenizer.train(DOCUMENTS, 320, pairs=True))
    return Text(PREPROCESS, folder=folder)


def method(reader: Text, **config) -> Structural:
    torch.manual_seed(0)
    small = {"dim": 16, "depth": 2, "heads": 2, "positions": 40, "dropout": 0.0}
    return Structural.build(build("bert", small, reader.input_size), config, PREPROCESS, {"question": reader})


def batch(made: Structural, epoch: int = 0) -> Batch:
    examples = [made.example(Item(text, -1, i), np.random.default_rng([epoch, i])) for i, text in enumerate(DOCUMENTS)]
    found: Batch = default_collate(examples)
    return found


def watched(made: Structural, found: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token numbers before and after they were corrupted, and where."""
    seen: list[torch.Tensor] = []
    original = type(made).corrupted

    def corrupted(ids: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        changed = original(made, ids, at)
        seen.extend((ids, changed, at))
        return changed

    made.corrupted = corrupted  # type: ignore[method-assign]
    made(found)
    ids, changed, at = seen
    return ids, changed, at


@pytest.mark.parametrize("tokens", ["rts", "crts", "slm"])
def test_swapped_inputs_hold_no_mask_and_about_a_seventh_of_other_words(reader, tokens):
    made = method(reader, tokens=tokens, clusters=8)
    shares, same = [], []
    for step in range(20):
        torch.manual_seed(step)
        ids, changed, at = watched(made, batch(made, step))
        assert not torch.isin(changed[at], made.special).any()
        assert (changed == ids)[~at].all()
        assert not torch.isin(ids[at], made.special).any()
        real = ~torch.isin(ids, made.special)
        shares.append((at.sum() / real.sum()).item())
        same.append((changed == ids)[at].float().mean().item())
    assert np.mean(shares) == pytest.approx(0.15, abs=0.01)
    assert reader.token_id("<mask>") in made.special
    assert np.mean(same) < 0.1  # a draw of the word itself counts as a swap all the same


def test_a_detector_sees_every_token_that_stands_for_text_and_no_other(reader):
    made = method(reader, tokens="rts")
    found = batch(made)
    torch.manual_seed(1)
    ids, changed, at = watched(made, found)
    torch.manual_seed(1)
    loss = made(found)["tokens"]
    real = found["attention_mask"][:, : ids.shape[1]].bool() & ~torch.isin(ids, made.special)
    tokens = made.encoder({"input_ids": changed, "attention_mask": found["attention_mask"][:, : ids.shape[1]]}).tokens
    want = torch.nn.functional.cross_entropy(made.detector(tokens)[real], at[real].long())
    torch.testing.assert_close(loss, want)


@pytest.mark.parametrize("config", [{"tokens": "slm"}, {"tokens": "mlm"}, {"tokens": "mlm", "everywhere": True}])
def test_words_are_restored_where_they_were_changed_and_nowhere_else(reader, config):
    made = method(reader, **config)
    found = batch(made)
    torch.manual_seed(1)
    ids, changed, at = watched(made, found)
    torch.manual_seed(1)
    loss = made(found)["tokens"]
    tokens = made.encoder({"input_ids": changed, "attention_mask": found["attention_mask"][:, : ids.shape[1]]}).tokens
    logits = made.word_head(tokens[at], made.encoder.net.embeddings.word_embeddings.weight)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, ids[at]))


def test_of_masked_tokens_a_tenth_each_is_another_word_and_left_alone(reader):
    made = method(reader, tokens="mlm")
    ids = torch.randint(5, reader.input_size, (200, 200))
    changed = made.corrupted(ids, torch.ones_like(ids, dtype=torch.bool))
    assert (changed == reader.token_id("<mask>")).float().mean() == pytest.approx(0.8, abs=0.01)
    assert (changed == ids).float().mean() == pytest.approx(0.1, abs=0.01)


def test_with_beta_0_clusters_are_drawn_evenly_and_a_missed_swap_comes_more_often(reader):
    made = method(reader, tokens="crts", clusters=6, beta=0.0)
    made.swaps.counts.normal_()
    torch.testing.assert_close(made.swaps.chances(), torch.full((6, 6), 1 / 6))
    swaps = method(reader, tokens="crts", clusters=6).swaps
    torch.testing.assert_close(swaps.chances(), torch.full((6, 6), 1 / 6))  # nothing is known yet
    one, other = (swaps.vocabulary[swaps.cluster_of[swaps.vocabulary] == cluster][:1] for cluster in (2, 4))
    swaps.learn(one, other, torch.tensor([True]))
    assert swaps.chances()[2, 4] > 1 / 6
    assert (swaps.chances()[2, [0, 1, 2, 3, 5]] < 1 / 6).all()
    torch.testing.assert_close(swaps.chances()[3], torch.full((6,), 1 / 6))
    swaps.learn(one, other, torch.tensor([False]))
    torch.testing.assert_close(swaps.counts, torch.ones(6, 6))


def test_a_word_comes_from_the_cluster_that_was_drawn(reader):
    swaps = method(reader, tokens="crts", clusters=6, beta=500.0).swaps
    assert swaps.sizes.sum() == len(swaps.vocabulary)
    swaps.counts[:, 3] = 5
    assert (swaps.cluster_of[swaps(swaps.vocabulary[None])] == 3).all()


def test_counts_change_after_the_step_by_what_the_detector_missed(reader):
    made = method(reader, tokens="crts", clusters=6)
    _, _, at = watched(made, batch(made))
    assert (made.swaps.counts == 1).all()
    made.after_step(0.1)
    moved = made.swaps.counts - 1
    assert moved.abs().sum() > 0
    assert (moved.sum() - at.sum()) % 2 == 0  # each swap is one up or one down
    before = made.swaps.counts.clone()
    made.after_step(0.2)
    torch.testing.assert_close(made.swaps.counts, before)


def test_clusters_are_of_the_embeddings_that_a_training_goes_on_from(reader):
    start, made = method(reader, tokens="rts"), method(reader, tokens="crts", clusters=4)
    with torch.no_grad():
        far = torch.eye(4).repeat_interleave(4, 1) * 100
        start.embeddings[start.words] = far[torch.arange(len(start.words)) % 4]
    made.carry(start.state_dict())
    found = made.swaps.cluster_of[made.words]
    assert all(len(found[place::4].unique()) == 1 for place in range(4))
    assert len(found.unique()) == 4


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_what_they_are_called(seed):
    """Every sentence names its document and paragraph."""
    rng = np.random.default_rng(seed)
    split = [sentences(one) for one in paragraphs(DOCUMENTS[0])]
    first, second, hard = PAIRS["ssp"](split, rng)
    assert first.split()[:2] == second.split()[:2]
    assert first != second
    assert hard.split()[0] == first.split()[0]
    assert hard.split()[1] != first.split()[1]
    sentence, rest, hard = PAIRS["sp"](split, rng)
    assert sentence not in rest
    assert len(sentences(rest)) == 2
    assert {one.split()[1] for one in sentences(rest)} == {sentence.split()[1]}
    assert sentence.split()[1] not in hard
    first, second, hard = PAIRS["psd"](split, rng)
    assert first.split()[0] == second.split()[0]
    assert first.split()[1] != second.split()[1]
    assert hard == ""


@pytest.mark.parametrize("structure", ["ssp", "sp", "psd"])
def test_labels_say_who_belongs_together(reader, structure):
    """Read back from the tokens of the pairs, a third each positive, hard and easy."""
    made = method(reader, tokens="mlm", structures=(structure,))
    kinds = {"positive": 0, "hard": 0, "easy": 0}
    for step in range(30):
        torch.manual_seed(step)
        inputs, related = made.inputs(batch(made, step))
        columns = (inputs[name] for name in ("input_ids", "token_type_ids", "attention_mask"))
        for ids, types, mask, label in zip(*columns, related, strict=True):
            one, other = (reader.of_tokens(ids[mask.bool() & (types == kind)].tolist()).split() for kind in (0, 1))
            same_document, same_paragraph = one[0] == other[0], one[1] == other[1]
            same = same_document and (same_paragraph or structure == "psd")
            assert bool(label) == same
            kinds["positive" if same else "hard" if same_document else "easy"] += 1
    shares = np.array(list(kinds.values())) / sum(kinds.values())
    want = (1 / 3, 1 / 3, 1 / 3) if structure != "psd" else (1 / 3, 0, 2 / 3)
    assert shares == pytest.approx(want, abs=0.09)


def test_the_structure_head_is_all_that_structures_add(reader):
    plain, structured = method(reader, tokens="mlm"), method(reader, tokens="mlm", structures=("ssp", "sp"))
    sizes = [{name: weight.shape for name, weight in made.named_parameters()} for made in (plain, structured)]
    added = set(sizes[1]) - set(sizes[0])
    assert added == {"structure.related.weight", "structure.related.bias"}
    assert {name: sizes[1][name] for name in sizes[0]} == sizes[0]
    assert sizes[1]["structure.related.weight"] == (2, 16)
    losses = structured(batch(structured))
    torch.testing.assert_close(losses["loss"], losses["tokens"] + losses["structure"])


def test_a_document_without_pairs_teaches_words_alone(reader):
    made = method(reader, tokens="slm", structures=("ssp",))
    example = made.example(Item("Cat dog bird.", -1, 0), np.random.default_rng(0))
    assert (example["ssp_second"] == NOTHING).all()
    found = default_collate([example, example])
    _, related = made.inputs(found)
    assert (related == -100).all()
    losses = made(found)
    assert losses["structure"] == 0
    assert losses["tokens"] > 0


def test_what_it_cannot_read_is_told(reader, tmp_path):
    with pytest.raises(WrongUse, match="needs encoder 'bert'"):
        Structural.build(build("gru", {}, reader.input_size), {}, PREPROCESS, {"question": reader})
    longer = TextPreprocess(max_tokens=41, overlap_tokens=0)
    with pytest.raises(WrongUse, match="max_tokens is 41, but the encoder has 40 positions"):
        Structural.build(build("bert", {"positions": 40}, reader.input_size), {}, longer, {"question": reader})
    (tmp_path / TOKENIZER).parent.mkdir()
    (tmp_path / TOKENIZER).write_text(tokenizer.train(DOCUMENTS, 300))
    alone = Text(PREPROCESS, folder=tmp_path)
    for config, why in (({"tokens": "mlm"}, "hides tokens"), ({"structures": ["sp"]}, "two texts are read together")):
        with pytest.raises(WrongUse, match=f"{why}.*tokenizer.pairs = true"):
            method(alone, **config)
