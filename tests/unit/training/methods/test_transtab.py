"""What makes it TransTab and no other: the card's invariants."""

import json
import math

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.table import Table, TablePreprocess
from enfold.modalities.text import TOKENIZER, Text, TextPreprocess
from training import tokenizer
from training.blocks.supcon import supcon
from training.encoders import build
from training.methods import Batch, Item
from training.methods.transtab import TransTab
from training.views.table import partitions

ROWS = [
    {"age": 20 + i, "size": float(i), "grade": i % 3, "sex": "fm"[i % 2], "smoker": i % 4 == 0, "region": "north"}
    for i in range(12)
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Table:
    folder = tmp_path_factory.mktemp("rows")
    table = Table(TablePreprocess(max_tokens=24, name_pieces=4), folder=folder)
    rows = [table.read(row) for row in ROWS]
    (folder / "resources").mkdir()
    (folder / TOKENIZER).write_text(tokenizer.train([text for row in rows for text in table.texts(row)], 320))
    for path, content in table.learnt(rows).items():
        (folder / path).write_bytes(content)
    return table


def method(reader: Table, **config) -> TransTab:
    torch.manual_seed(0)
    encoder = build("column_transformer", {"dim": 16, "heads": 2, "inner": 24}, reader.input_size)
    sides = {"study": Text(TextPreprocess())}
    return TransTab.build(encoder, {"projection": 8} | config, reader.preprocess, sides, None, reader).eval()


def embedding(made: TransTab, reader: Table, row) -> torch.Tensor:
    inputs = reader.collate([reader.prepare(reader.read(row))[0]])
    with torch.no_grad():
        return made.encoder({name: torch.from_numpy(values) for name, values in inputs.items()}).embedding[0]


def batch(made: TransTab, reader: Table, labels) -> Batch:
    items = [Item(reader.read(ROWS[i]), label, i) for i, label in enumerate(labels)]
    found: Batch = default_collate([made.example(item, np.random.default_rng(0)) for item in items])
    return found


def test_columns_in_another_order_give_the_same_embedding(reader):
    made = method(reader)
    row = ROWS[4]
    torch.testing.assert_close(
        embedding(made, reader, row), embedding(made, reader, dict(reversed(row.items()))), rtol=0, atol=0
    )
    inputs = reader.collate([reader.prepare(reader.read(row))[0]])  # and there is no position in the encoder either
    tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
    order = torch.randperm(tensors["kinds"].shape[1])
    shuffled = {name: values[:, order] for name, values in tensors.items()}
    torch.testing.assert_close(made.encoder(shuffled).embedding, made.encoder(tensors).embedding)


def test_the_name_of_a_column_counts_and_the_table_does_not(reader):
    made = method(reader)
    one, two = {"age": 25, "region": "north"}, {"age": 25, "sex": "north"}
    assert (embedding(made, reader, one) - embedding(made, reader, two)).abs().max() > 1e-3
    tokens = [reader.tokens(reader.read(row)) for row in (one, {**two, "region": "north", "sex": None, "size": 3.0})]
    rows = [set(map(tuple, np.column_stack([t["pieces"], t["values"], t["kinds"]]).tolist())) for t in tokens]
    assert rows[0] < rows[1]


def test_a_flag_that_is_false_is_a_column_that_is_not_there(reader):
    made = method(reader)
    without = embedding(made, reader, {"age": 25})
    torch.testing.assert_close(embedding(made, reader, {"age": 25, "smoker": False}), without, rtol=0, atol=0)
    assert (embedding(made, reader, {"age": 25, "smoker": True}) - without).abs().max() > 1e-3


def test_a_number_s_token_is_affine_in_it_and_one_is_all_it_makes(reader):
    made = method(reader)
    found = []
    for age in (20, 25, 30):
        inputs = reader.collate([reader.prepare(reader.read({"age": age}))[0]])
        tokens, real = made.encoder.columns({name: torch.from_numpy(values) for name, values in inputs.items()})
        assert real.tolist() == [[True]]
        found.append(tokens[0, 0].detach())
    torch.testing.assert_close(found[1], (found[0] + found[2]) / 2)
    torch.testing.assert_close(found[0], made.encoder.net["align"](made.encoder.number_bias).detach())  # at the least


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("columns", [4, 7, 12, 13])
def test_views_cover_all_columns_and_overlap_by_the_share(columns, count, overlap):
    names = [f"c{i}" for i in range(columns)]
    views = partitions(names, count, overlap=overlap)
    assert len(views) == count == len({tuple(view) for view in views})
    assert {name for view in views for name in view} == set(names)
    own = [list(run) for run in np.array_split(names, count)]
    for number, (view, run) in enumerate(zip(views, own, strict=True)):
        assert view[: len(run)] == run
        more, taken = view[len(run) :], math.ceil(overlap * len(run))
        beside = own[number - 1][len(own[number - 1]) - taken :] if number == count - 1 else own[number + 1][:taken]
        assert more == beside
        assert len(more) == taken


def test_one_encoder_takes_tables_of_any_columns_together(reader):
    made = method(reader)
    rows = [{"age": 25}, ROWS[0], {"region": "south east", "sex": "m"}, {"smoker": False}]
    inputs = reader.collate([reader.prepare(reader.read(row))[0] for row in rows])
    with torch.no_grad():
        together = made.encoder({name: torch.from_numpy(values) for name, values in inputs.items()}).embedding
    for row, vector in zip(rows, together, strict=True):
        torch.testing.assert_close(vector, embedding(made, reader, row))


def test_positives_are_views_of_the_same_class_or_of_the_same_row(reader):
    labels = [0, 0, 1, -1, -1]
    for supervised, classes in ((True, [0, 0, 1, 2, 3]), (False, [0, 1, 2, 3, 4])):
        made = method(reader, supervised=supervised)
        found = batch(made, reader, labels)
        assert found["kinds"].shape == (5, 4, 24)
        inputs = {name: found[name].flatten(0, 1) for name in ("pieces", "values", "kinds")}
        projected = made.projection(made.encoder(inputs).embedding)
        wanted = supcon(projected, torch.tensor(classes).repeat_interleave(4), temperature=0.1)
        torch.testing.assert_close(made(found)["loss"], wanted)


def test_a_batch_holds_rows_of_one_table(reader):
    items = [Item(reader.read(ROWS[i % 12]), 0, i, {"study": "abc"[i % 3]}) for i in range(30)]
    batches = iter(method(reader).sampler(items, 4, 0, 0))
    tables = [{items[i].sides["study"] for _, i in next(batches)} for _ in range(6)]
    assert tables == [{"a"}, {"b"}, {"c"}] * 2


def test_what_it_cannot_work_on_is_said(reader):
    made = method(reader)
    with pytest.raises(WrongUse, match="row 3 has 2 columns, too few for 4 partitions"):
        made.example(Item(reader.read({"age": 25, "sex": None}), 0, 3), np.random.default_rng(0))
    with pytest.raises(WrongUse, match=r"name the column \[sides.study\]"):
        TransTab.build(made.encoder, {}, reader.preprocess, {}, None, reader)


def test_the_embedding_ignores_padding(reader):
    made, row = method(reader), ROWS[3]
    arrays = reader.prepare(reader.read(row))[0].arrays
    inputs = {name: torch.from_numpy(np.pad(v, [(0, 9)] + [(0, 0)] * (v.ndim - 1)))[None] for name, v in arrays.items()}
    with torch.no_grad():
        encoded = made.encoder(inputs)
    torch.testing.assert_close(encoded.embedding[0], embedding(made, reader, row))
    assert encoded.token_mask.sum() == len(arrays["kinds"]) + 1
    assert (encoded.tokens[~encoded.token_mask] == 0).all()


def test_the_gate_is_one_number_for_each_token(reader):
    block = method(reader).encoder.net["blocks"][0]
    assert block.gate.weight.shape == (1, 16)
    tokens, mask = torch.randn(2, 5, 16), torch.ones(2, 5, dtype=torch.bool)
    with torch.no_grad():
        block.gate.weight.fill_(0)  # half open for all
        block.widen.weight.mul_(2)
        block.widen.bias.mul_(2)
        gated = block(tokens, mask)
        after = block.norm_attention(tokens + _attended(block, tokens))
        plain = block.norm_fed(after + block.narrow(torch.relu(block.widen(after) / 2)))
    torch.testing.assert_close(gated, plain)


def _attended(block, tokens: torch.Tensor) -> torch.Tensor:
    q, k, v = block.qkv(tokens).chunk(3, 2)
    heads = [part.unflatten(2, (2, 8)).transpose(1, 2) for part in (q, k, v)]
    return block.out(torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


def test_ranges_of_numbers_travel_with_the_run(reader):
    learnt = json.loads((reader.folder / reader.preprocess.columns).read_bytes())
    assert (learnt["age"]["low"], learnt["age"]["high"]) == (20, 31)
