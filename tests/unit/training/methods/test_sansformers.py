"""What makes it SANSformers and no other: the card's invariants."""

import numpy as np
import pytest
import torch
from torch import nn

from enfold.errors import WrongUse
from enfold.modalities.records import Records, RecordsPreprocess
from training.encoders import build
from training.methods import Item
from training.methods.sansformers import SANSformers
from training.views.records import after_day, index_days, until_day, visit_counts

CODES = ("hdl", "chol", "stroke")


def history(seed: int, visits: int = 10):
    rng = np.random.default_rng(seed)
    days = np.cumsum(rng.integers(1, 90, visits))
    events = [{"time": int(day), "code": code, "value": float(rng.random())} for day in days for code in CODES[:2]]
    events.append({"time": int(days[-1]) + 30, "code": "stroke"})
    about = {"age": float(rng.integers(30, 80)), "sex": "fm"[seed % 2]}
    return Records(None).read({"events": events, "about": about, "until": int(days[-1]) + 400})


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Records:
    folder = tmp_path_factory.mktemp("records")
    (folder / "resources").mkdir()
    found = Records(RecordsPreprocess(max_visits=16, visit_codes=4, places=4), folder=folder)
    for path, content in found.learnt(map(history, range(8))).items():
        (folder / path).write_bytes(content)
    return found


def method(reader: Records, variant: str = "additive", **config) -> SANSformers:
    torch.manual_seed(0)
    facts = {"variant": variant, "dim": 16, "depth": 2, "max_visits": 16, "visit_codes": 4, "places": 4}
    encoder = build("sansformer", facts, reader.input_size)
    for block in (*encoder.net, *encoder.within):  # as trained: at the start gates are all but closed
        nn.init.normal_(block.spread, std=0.3)
    return SANSformers.build(encoder, config, reader.preprocess, reader=reader).eval()


def encoded(made: SANSformers, inputs):
    with torch.no_grad():
        return made.encoder({name: torch.as_tensor(values) for name, values in inputs.items()})


def inputs(reader: Records, seed: int = 0):
    return reader.collate([reader.prepare(history(seed))[0]])


@pytest.mark.parametrize("variant", ["additive", "axial"])
def test_there_is_no_attention_and_a_visit_knows_nothing_of_later_ones(reader, variant):
    made, given = method(reader, variant), inputs(reader)
    assert not any(isinstance(module, nn.MultiheadAttention) for module in made.modules())
    for block in made.encoder.net:
        assert (block.weights().triu(1) == 0).all()
    other = {name: values.copy() for name, values in given.items()}
    other["codes"][:, 6:] = 1
    other["gaps"][:, 6:] += 50
    first, second = encoded(made, given), encoded(made, other)
    torch.testing.assert_close(first.tokens[:, :6], second.tokens[:, :6], rtol=0, atol=1e-6)
    assert not torch.allclose(first.tokens[:, 6:], second.tokens[:, 6:])
    assert not torch.allclose(first.embedding, second.embedding)


@pytest.mark.parametrize("variant", ["additive", "axial"])
def test_padding_and_neighbours_count_for_nothing(reader, variant):
    made = method(reader, variant)
    samples = [reader.prepare(history(0, visits))[0] for visits in (4, 12)]
    together = encoded(made, reader.collate(samples)).embedding
    for row, sample in enumerate(samples):
        torch.testing.assert_close(together[row], encoded(made, reader.collate([sample])).embedding[0])


def test_codes_of_a_visit_have_no_order(reader):
    made, given = method(reader), inputs(reader)
    turned = given | {"codes": given["codes"][:, :, ::-1].copy()}
    torch.testing.assert_close(encoded(made, given).embedding, encoded(made, turned).embedding)


@pytest.mark.parametrize("variant", ["additive", "axial"])
def test_time_between_visits_counts(reader, variant):
    made, given = method(reader, variant), inputs(reader)
    later = given | {"gaps": given["gaps"] * 2}
    assert not torch.allclose(encoded(made, given).embedding, encoded(made, later).embedding)


def test_inputs_end_where_targets_begin(reader):
    person = history(3)
    for day in index_days(person, window=100, least_visits=3):
        before, after = until_day(person, day), after_day(person, day, 100)
        assert before.days.max() <= day < after.days.min(initial=np.inf)
        assert after.days.max(initial=0) <= day + 100
        assert len(np.unique(before.days)) >= 3
    made = method(reader, window=100, groups={"lipids": ("hdl", "CHOL"), "brain": ("stroke",)})
    given = made.example(Item(person, -1, 0), np.random.default_rng(0))
    assert given["codes"].shape == (16, 4)
    assert given["counts"].shape == (3,)


def test_counts_are_of_days(reader):
    events = [{"time": day, "code": code} for day in (1, 1.5, 9) for code in CODES[:2]] + [
        {"time": 20, "code": "stroke"}
    ]
    person = Records(None).read(events)
    assert visit_counts(person, {"lipids": ("hdl", "chol"), "brain": ("stroke",)}).tolist() == [3, 2, 1]


def test_nobody_counts_whose_following_days_are_not_stated():
    person = history(0)
    last = index_days(person, window=365, least_visits=1).max()
    assert last + 365 <= person.until
    assert not len(index_days(person, window=5000, least_visits=1))


def test_persons_alone_who_are_followed_for_long_enough_are_drawn(reader):
    made = method(reader, window=365)
    items = [Item(history(0), -1, 0), Item(Records(None).read([{"time": 1, "code": "hdl"}]), -1, 1)]
    drawn = next(iter(made.sampler(items, 8, 0, 0)))
    assert {index for _, index in drawn} == {0}
    with pytest.raises(WrongUse, match="no person of the training split"):
        made.sampler(items[1:], 8, 0, 0)


def test_the_head_of_pretraining_is_discarded_and_the_loss_is_poissons(reader):
    made = method(reader)
    assert not hasattr(made, "task_head")
    example = made.example(Item(history(1), -1, 0), np.random.default_rng(0))
    batch = {name: torch.as_tensor(values)[None] for name, values in example.items()}
    with torch.no_grad():
        s = made.head(made.encoder({name: batch[name] for name in ("codes", "gaps", "about")}).embedding)
        found = made(batch)["loss"]
    torch.testing.assert_close(found, (s.exp() - batch["counts"] * s).mean())


def test_sizes_that_do_not_fit_are_named(reader):
    encoder = build("sansformer", {"dim": 16, "depth": 1, "max_visits": 32, "visit_codes": 4, "places": 4}, 20)
    with pytest.raises(WrongUse, match=r"preprocess.max_visits is 16, encoder.config.max_visits is 32"):
        SANSformers.build(encoder, {}, reader.preprocess, reader=reader)
