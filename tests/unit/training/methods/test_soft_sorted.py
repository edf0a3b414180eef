"""What makes it SoFT and no other: the card's invariants."""

from pathlib import Path

import numpy as np
import pytest
import torch

from enfold.errors import WrongUse
from enfold.modalities import get
from enfold.modalities.text import TOKENIZER, TextPreprocess
from enfold.tasks import Prepared
from enfold.tasks.generate import Generate, GenerateSpec
from training import tokenizer
from training.encoders import build
from training.encoders.causal_lm import CausalLM
from training.heads import run_by
from training.heads.language import least_confidence
from training.methods import Item
from training.methods.soft_sorted import SoFT

TEXTS = ["the cat sat on the mat", "a dog ran over the hill", "birds sang in the old tree"] * 3
PREPROCESS = TextPreprocess(max_tokens=24, overlap_tokens=0)
ENCODER = {"dim": 16, "depth": 4, "heads": 2, "exits": (2, 3)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("texts")
    (made / TOKENIZER).parent.mkdir()
    (made / TOKENIZER).write_text(tokenizer.train(TEXTS, 300))
    return made


def method(folder: Path, encoder: dict | None = None, **config) -> SoFT:
    torch.manual_seed(0)
    reader = get("text")(PREPROCESS, folder=folder)
    made = build("causal_lm", encoder or ENCODER, reader.input_size)
    return SoFT.build(made, config, PREPROCESS, {"prompt": reader})


def batch(made: SoFT) -> dict[str, torch.Tensor]:
    items = [Item(text, -1, i, {"prompt": "say:"}) for i, text in enumerate(TEXTS[:3])]
    examples = [made.example(item, np.random.default_rng(item.index)) for item in items]
    return {name: torch.from_numpy(np.stack([one[name] for one in examples])) for name in examples[0]}


def test_every_exit_reads_through_the_same_norm_and_head_and_adds_no_parameter(folder):
    sorted_, plain = method(folder), method(folder, ENCODER | {"exits": ()})
    count = [sum(weight.numel() for weight in made.parameters()) for made in (sorted_, plain)]
    assert count[0] == count[1]
    encoder = sorted_.encoder
    hidden = {}
    for number, block in enumerate(encoder.net, 1):
        block.register_forward_hook(lambda _, __, output, number=number: hidden.update({number: output[0]}))
    features = encoder(batch(sorted_)).features
    for exit in encoder.exits:
        torch.testing.assert_close(features[f"exit{exit}"], encoder.norm(hidden[exit]))
        torch.testing.assert_close(sorted_.logits(features, exit), encoder.norm(hidden[exit]) @ encoder.words.weight.T)


def test_an_exit_uses_exactly_its_first_blocks(folder):
    made = method(folder)
    one = batch(made)
    before = made.encoder(one).features
    with torch.no_grad():
        for weight in made.encoder.net[3].parameters():
            weight.add_(1.0)
    after = made.encoder(one).features
    for exit in (2, 3):
        torch.testing.assert_close(before[f"exit{exit}"], after[f"exit{exit}"], rtol=0, atol=0)
    assert not torch.allclose(before["exit4"], after["exit4"])


def test_an_exit_taken_out_is_a_model_of_its_own(folder):
    made = method(folder)
    whole, one = made.encoder.eval(), batch(made)
    part = whole.sized("2")
    assert len(part.net) == 2
    torch.testing.assert_close(part(one).tokens, whole(one).features["exit2"])
    assert whole.sizes == ("2", "3", "4")


def test_all_exits_are_trained_in_every_step_or_one_that_is_drawn(folder):
    made = method(folder)
    losses = made(batch(made))
    exits = [losses[f"exit{n}"] for n in (2, 3, 4)]
    torch.testing.assert_close(losses["loss"], torch.stack(exits).mean())
    drawn = method(folder, at_once="one")
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        [name] = set(drawn(batch(drawn))) - {"loss"}
        seen.add(name)
    assert seen == {"exit2", "exit3", "exit4"}


def test_each_exits_loss_reaches_the_blocks_before_it_and_no_others(folder):
    made = method(folder)
    made(batch(made))["exit2"].backward()
    learning = [any(weight.grad is not None for weight in block.parameters()) for block in made.encoder.net]
    assert learning == [True, True, False, False]


def test_the_instruction_takes_no_loss_and_the_answer_ends(folder):
    made = method(folder)
    asked = made._reader.prepare("say:")[0].arrays["input_ids"]
    whole = made._reader.prepare("say: the cat sat on the mat")[0].arrays["input_ids"]
    example = made.sequence("say:", "the cat sat on the mat")
    learnt = example["targets"][example["targets"] >= 0]
    np.testing.assert_array_equal(learnt, [*whole[len(asked) :], made._reader.token_id("<eos>")])
    np.testing.assert_array_equal(example["input_ids"][: len(whole)], whole)
    assert example["attention_mask"].sum() == len(whole)


def test_plain_text_is_learnt_token_by_token(folder):
    example = method(folder, instruct=False).example(Item(TEXTS[0], -1, 0), np.random.default_rng(0))
    real = int(example["attention_mask"].sum())
    np.testing.assert_array_equal(example["targets"][: real - 1], example["input_ids"][1:real])


def test_padding_changes_nothing_before_it(folder):
    made = method(folder)
    one = batch(made)
    short = {name: tensor[:, : int(one["attention_mask"].sum(1).max())] for name, tensor in one.items()}
    torch.testing.assert_close(made.encoder(one).embedding, made.encoder(short).embedding)


def test_a_shallower_model_goes_on_from_the_first_blocks(folder):
    deep, shallow = method(folder), method(folder, ENCODER | {"depth": 2, "exits": ()})
    with torch.no_grad():
        for weight in deep.parameters():
            weight.add_(0.1)
    shallow.carry(deep.state_dict())
    one = batch(deep)
    torch.testing.assert_close(shallow.encoder(one).tokens, deep.encoder(one).features["exit2"])


def test_heads_of_their_own_learn_on_a_frozen_model_and_begin_as_the_shared_one(folder):
    made = method(folder, exits=(2,), own_heads=True)
    features = made.encoder(batch(made)).features
    torch.testing.assert_close(made.logits(features, 2), made.encoder.logits(torch.nn.RMSNorm(16)(features["exit2"])))
    made(batch(made))["loss"].backward()
    assert not any(weight.requires_grad for weight in made.encoder.parameters())
    assert all(weight.grad is not None for weight in made.own.parameters())


def test_a_cache_gives_what_reading_everything_again_gives(folder):
    made = method(folder).eval()
    encoder: CausalLM = made.encoder
    one = batch(made)
    ids = one["input_ids"][:1, :9]
    whole = encoder.logits(encoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)}).tokens)
    cache, found = torch.zeros(1, 4, 2, 2, 0, 8), []
    for piece in ids.split([4, 1, 3, 1], dim=1):
        logits, cache = encoder.step(piece, cache)
        found.append(logits)
    torch.testing.assert_close(torch.cat(found, 1), whole)


@pytest.mark.parametrize("seed", range(3))
def test_speculative_greedy_output_equals_the_whole_models_token_by_token(folder, seed):
    made = method(folder).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in made.encoder.net.parameters():
            weight.normal_(std=0.3)
    example, head = {"input_ids": np.ones((2, 3), np.int64)}, made.task_head
    graphs = {f"step.{size}": head.graphs(made.encoder.sized(size), example)["step"] for size in ("2", "3", "4")}
    task = Generate(GenerateSpec(**made.task_head.spec()), folder, "4")
    prompt = made._reader.prepare("the cat", parts=True)
    plain, drafted = (
        task.run(run_by(graphs), Prepared([prompt], {}), task.Options(max_tokens=14, depth=depth))[0]
        for depth in ("size", "speculative")
    )
    assert (plain.text, plain.tokens) == (drafted.text, drafted.tokens)
    assert drafted.proposed > 0


def test_confidence_is_the_least_that_costs_at_most_a_hundredth_of_perplexity():
    sure = np.array([[0.805, 0.505, 0.305], [0.9, 0.9, 0.9]])
    for lost, wanted in ((0.0, 0.01), (0.02, 0.01), (0.04, 0.31)):  # by the third token; ln 1.01 of three are 0.0298
        assert least_confidence(sure, np.array([[1.0, 1.0, 1.0 + lost], [1.0, 1.0, 1.0]])) == wanted
    assert least_confidence(sure, np.array([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]])) == 0.81


def test_a_shallow_exit_must_be_the_surer_the_worse_it_is(folder):
    items = [Item(text, -1, i, {"prompt": "say:"}) for i, text in enumerate(TEXTS)]
    alike, apart = method(folder), method(folder)
    with torch.no_grad():
        for weight in alike.encoder.net[2:].parameters():
            weight.zero_()  # what is after the second block adds nothing
    optimizer = torch.optim.AdamW(apart.parameters(), 0.01)
    for _ in range(60):  # the whole depth alone learns
        optimizer.zero_grad()
        apart(batch(apart))["exit4"].backward()
        optimizer.step()
    assert alike.calibrated(items).spec == {"confidence": 0.01}
    assert apart.calibrated(items).spec["confidence"] > 0.3
    assert method(folder, ENCODER | {"exits": ()}).calibrated(items).spec == {}


def test_what_it_cannot_train_is_refused(folder):
    with pytest.raises(WrongUse, match=r"exit 1 is none of the encoder's \(2, 3, 4\)"):
        method(folder, exits=(1,))
    with pytest.raises(WrongUse, match=r"let the recipe name a text column \[sides.prompt\]"):
        SoFT.build(build("causal_lm", ENCODER, 300), {}, PREPROCESS)
    vit = build("vit", {"patch": 4, "dim": 16, "depth": 1, "heads": 2}, 16)
    with pytest.raises(WrongUse, match="it needs encoder 'causal_lm'"):
        SoFT.build(vit, {}, PREPROCESS)
