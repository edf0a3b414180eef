"""TAPE: what is masked and how, what the loss looks at, families held out, the same head and budget for every arm."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.protein import FIRST, MASK, STANDARD, Protein, ProteinPreprocess, tokens
from enfold.tasks import Prepared
from enfold.tasks.contacts import APART
from enfold.tasks.tag import Tag, TagOptions, TagSpec
from tests.examples import pdb
from training import recipe
from training.adaptation.contacts import PairTuner
from training.adaptation.tags import Tagger
from training.blocks.token_swaps import drawn, masked
from training.encoders import build
from training.heads import load_head, run_by, save_head
from training.methods import Item
from training.methods.tape import Tape

PREPROCESS = ProteinPreprocess(max_residues=30, overlap=4)
READER = Protein(PREPROCESS)
RNG = np.random.default_rng(0)


def encoder(**config):
    torch.manual_seed(0)
    facts = {"dim": 16, "depth": 1, "heads": 2, "positions": 32, "pool": "mean", "special": FIRST, "dropout": 0.0}
    return build("bert", facts | config, READER.input_size)


def chain(length: int, letters: str = STANDARD) -> str:
    return "".join(np.random.default_rng(length).choice(list(letters), length))


def item(length: int, **sides: str) -> Item:
    return Item(READER.read(chain(length)), -1, length, sides)


def batch(method, *items: Item):
    return default_collate([method.example(one, np.random.default_rng(one.index)) for one in items])


def test_fifteen_in_a_hundred_residues_are_chosen_and_of_them_80_10_10():
    torch.manual_seed(0)
    ids = torch.from_numpy(tokens(STANDARD))[torch.randint(20, (400, 500))]
    at = drawn(ids >= FIRST, 0.15)
    seen = masked(ids, at, MASK, torch.from_numpy(tokens(STANDARD)))
    assert at.float().mean() == pytest.approx(0.15, abs=0.01)
    hidden, other = (seen == MASK)[at].float().mean(), ((seen != MASK) & (seen != ids))[at].float().mean()
    assert hidden == pytest.approx(0.8, abs=0.01)
    assert other == pytest.approx(0.1 * 19 / 20, abs=0.01)  # one in twenty is drawn again
    assert (seen == ids)[~at].all()
    assert set(seen[seen != MASK].unique().tolist()) <= set(tokens(STANDARD).tolist())


def test_special_tokens_and_padding_are_never_chosen():
    method = Tape.build(encoder(), {"share": 0.99}, PREPROCESS)
    given = batch(method, item(5), item(40))
    places = []
    method.logits = lambda ids, mask, at: places.append(at) or torch.zeros(int(at.sum()), 30, requires_grad=True)
    torch.manual_seed(0)
    method(given)
    [at] = places
    assert at.shape == (2, 32)
    assert not at[:, 0].any()
    assert not at[0, 6:].any()
    assert not at[1, 31]


def test_the_loss_is_the_cross_entropy_of_chosen_residues_alone():
    method = Tape.build(encoder(), {}, PREPROCESS).eval()
    given = batch(method, item(30), item(20))
    torch.manual_seed(3)
    losses = method(given)
    torch.manual_seed(3)
    ids, mask = given["input_ids"], given["attention_mask"]
    at = drawn(ids >= FIRST, 0.15)
    seen = masked(ids, at, MASK, method.standard)
    hidden = method.encoder({"input_ids": seen, "attention_mask": mask}).tokens
    everywhere = F.linear(method.word_head.layer(hidden), method.encoder.net.embeddings.word_embeddings.weight)
    chances = (everywhere + method.word_head.bias).softmax(2)
    own = chances.gather(2, ids[..., None])[..., 0]
    expected = -(own.log() * at).sum() / at.sum()
    torch.testing.assert_close(losses["loss"], expected)


def test_the_embedding_is_the_mean_of_the_residues():
    made = encoder().eval()
    [sample] = READER.prepare(READER.read("MKTAY"))
    inputs = {name: torch.from_numpy(values)[None] for name, values in sample.arrays.items()}
    encoded = made(inputs)
    torch.testing.assert_close(encoded.embedding, encoded.tokens[:, 1:-1].mean(1))
    hot = build("one_hot", {"special": FIRST}, READER.input_size)(inputs)
    torch.testing.assert_close(hot.embedding[0, tokens("MKTAY")], torch.full((5,), 0.2))
    assert hot.embedding.sum() == pytest.approx(1)


def test_a_long_chain_gives_another_piece_each_time():
    method = Tape.build(encoder(), {}, PREPROCESS)
    pieces = {tuple(method.example(item(200), np.random.default_rng(i))["input_ids"]) for i in range(20)}
    assert len(pieces) > 10
    assert {len(piece) for piece in pieces} == {32}


def test_an_encoder_that_cannot_is_refused():
    with pytest.raises(WrongUse, match="needs encoder 'bert'"):
        Tape.build(build("one_hot", {}, READER.input_size), {}, PREPROCESS)
    with pytest.raises(WrongUse, match="makes 32 tokens, but the encoder has 16 positions"):
        Tape.build(encoder(positions=16), {}, PREPROCESS)


@pytest.mark.parametrize("name", ["bert", "one_hot"])
def test_states_are_learnt_on_any_encoder_and_answered_as_learnt(name, tmp_path):
    """Lysine and tryptophan are what they are wherever they stand."""
    made = encoder() if name == "bert" else build("one_hot", {"special": FIRST}, READER.input_size)
    tuner = Tagger.build(made, {"labels": {"H": "helix", "C": "coil"}, "hidden": 16}, PREPROCESS)
    chains = [chain(length, "KWAG") for length in (18, 25, 30, 44)]
    told = ["".join("H" if letter in "KW" else "C" for letter in one) for one in chains]
    items = [
        Item(READER.read(one), -1, i, {"states": own}) for i, (one, own) in enumerate(zip(chains, told, strict=True))
    ]
    optimizer = torch.optim.AdamW([one for one in tuner.parameters() if one.requires_grad], 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        tuner(batch(tuner, *items))["loss"].backward()
        optimizer.step()
    tuner.eval()
    save_head(tmp_path, tuner.head)
    saved = load_head(tmp_path, tuner.encoder)
    assert saved.head.truth == "states"
    task = Tag(TagSpec(**saved.spec), tmp_path)
    samples = [READER.prepare(READER.read(one), parts=True) for one in chains]
    graphs = run_by(saved.head.graphs(tuner.encoder, READER.collate(samples[0] + samples[1])))
    assert task.measure(task.run(graphs, Prepared(samples, {}), TagOptions()), told)["accuracy"] > 0.95


def test_padding_changes_no_state():
    tuner = Tagger.build(encoder(), {"labels": {"H": "helix", "C": "coil"}, "hidden": 16}, PREPROCESS).eval()
    given = batch(tuner, item(9, states="H" * 9), item(30, states="C" * 30))
    inputs = {name: given[name] for name in ("input_ids", "attention_mask")}
    together = tuner.head(tuner.encoder(inputs).tokens, inputs["attention_mask"])[0, :11]
    alone = {name: values[:1, :11] for name, values in inputs.items()}
    torch.testing.assert_close(tuner.head(tuner.encoder(alone).tokens, alone["attention_mask"])[0], together)


def test_states_that_do_not_fit_their_chain_are_refused():
    tuner = Tagger.build(encoder(), {"labels": {"H": "helix", "C": "coil"}}, PREPROCESS)
    with pytest.raises(WrongUse, match="9 residues and 8 letters"):
        tuner.example(item(9, states="H" * 8), RNG)
    with pytest.raises(WrongUse, match="nothing in column 'states'"):
        tuner.example(item(9), RNG)


def test_contacts_are_symmetric_and_near_pairs_are_not_asked_for():
    tuner = PairTuner.build(encoder(), {}, PREPROCESS).eval()
    value = READER.read(pdb(chain(28)))
    real = np.argwhere(np.triu(value.contacts(), 1)).tolist()
    given = batch(tuner, Item(value, -1, 0, {"contacts": json.dumps(real)}), item(12, contacts="[[0, 9]]"))
    inputs = {name: given[name] for name in ("input_ids", "attention_mask")}
    logits = tuner.head(tuner.encoder(inputs).tokens)
    torch.testing.assert_close(logits, logits.transpose(1, 2))
    asked = given["asked"]
    first, second = asked[0].nonzero(as_tuple=True)
    assert int((first - second).abs().min()) == APART
    assert int(asked[1].sum()) == 6 * 7, "of padding nothing is asked"
    assert given["touching"][1].nonzero().tolist() == [[1, 10], [10, 1]]
    own = F.binary_cross_entropy_with_logits(logits[asked], given["touching"][asked].float())
    torch.testing.assert_close(tuner(given)["loss"], own)
    changed = given | {"touching": given["touching"] ^ ~asked}
    torch.testing.assert_close(tuner(changed)["loss"], own)


def test_every_arm_of_the_claim_has_one_head_and_one_budget():
    claim = recipe.load("tape").claim
    judged = {arm.name: {one.name: one for one in arm.stage} for arm in claim.arms}
    assert {"pretrained", "random", "one_hot"} <= judged.keys()
    for name in ("states", "contacts"):
        stages = [own[name] for arm, own in judged.items() if arm in ("pretrained", "random", "one_hot")]
        assert len({json.dumps([one.config, one.train], sort_keys=True) for one in stages}) == 1
