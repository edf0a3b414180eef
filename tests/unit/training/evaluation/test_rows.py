"""Judging encoders of rows: a hundred rows of a table, and columns that were never trained on."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from enfold.errors import WrongUse
from enfold.modalities.table import Table, TablePreprocess
from enfold.modalities.text import TOKENIZER
from training import tokenizer
from training.data.sources import open_dataset
from training.encoders import build
from training.evaluation import Subject, few_rows, unseen_columns


def subject(folder, monkeypatch, told: str = "dose") -> Any:
    """Two tables of 60 rows, in which one column tells the class."""
    monkeypatch.setattr(few_rows, "EPOCHS", 12)
    monkeypatch.setattr(unseen_columns, "EPOCHS", 12)
    rng, lines = np.random.default_rng(0), []
    for i in range(120):
        study, label = "ab"[i // 60], i % 2
        row = {"dose": 1.0 * label, "kind": "xy"[label], "age": 0.0, "size": 0.0} | {
            name: float(value) for name, value in zip(("age", "size"), rng.random(2), strict=True)
        }
        row = {name: value if name == told else float(rng.random()) for name, value in row.items()}
        split = ("train", "train", "train", "val", "test")[i // 2 % 5]
        about = {"id": str(i), "label": f"{study}: {label}", "study": study, "split": split}
        lines.append({**about, "table": row})
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    dataset = open_dataset(str(folder / "rows.jsonl"), data=folder / "data")
    table = Table(TablePreprocess(max_tokens=16), folder=folder)
    rows = [dataset.read(i, table) for i in range(len(dataset))]
    (folder / "resources").mkdir()
    (folder / TOKENIZER).write_text(tokenizer.train([text for row in rows for text in table.texts(row)], 300))
    for path, content in table.learnt(rows).items():
        (folder / path).write_bytes(content)
    torch.manual_seed(0)
    encoder = build("column_transformer", {"dim": 16, "heads": 2, "inner": 16}, table.input_size).eval()
    run: Any = SimpleNamespace(seed=0, reader=lambda data: table, recipe=None)
    return Subject(encoder, run, dataset)


def test_a_column_that_tells_the_class_is_found_and_nothing_judged_is_changed(tmp_path, monkeypatch):
    judged = subject(tmp_path, monkeypatch)
    before = {name: weight.clone() for name, weight in judged.encoder.state_dict().items()}
    found = few_rows.evaluate(judged)
    assert set(found) == {f"{way}{name}auc" for way in ("", "boosting_", "logistic_") for name in ("", "a_", "b_")}
    assert found["a_auc"] > 0.9
    assert found["logistic_auc"] > 0.9
    assert found["auc"] == pytest.approx((found["a_auc"] + found["b_auc"]) / 2)
    for name, weight in judged.encoder.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)


def test_a_half_that_tells_nothing_gives_no_more_than_chance_on_the_other(tmp_path, monkeypatch):
    found = unseen_columns.evaluate(subject(tmp_path, monkeypatch))
    assert found["known_auc"] > 0.9  # age, dose: columns stand in the order of the file
    assert 0.2 < found["auc"] < 0.8
    assert {"overlapping_auc", "overlapping_boosting_auc", "overlapping_logistic_auc", "a_auc", "b_auc"} < set(found)


def test_rows_are_drawn_from_both_classes_in_their_proportion():
    truth = (np.arange(1000) % 10 == 0).astype(int)
    rows = few_rows.Rows([{"x": float(i)} for i in range(1000)], truth)
    few = few_rows.drawn(rows, 100, seed=1)
    assert (len(few.truth), few.truth.sum()) == (100, 10)
    assert few.values == few_rows.drawn(rows, 100, seed=1).values != few_rows.drawn(rows, 100, seed=2).values


def test_trees_and_regression_take_what_is_missing_and_texts():
    rows = [{"x": float(i % 2) if i % 3 else None, "kind": "ab"[i % 2], "flag": i % 2 == 0} for i in range(80)]
    data = few_rows.Rows(rows, np.arange(80) % 2)
    for scores in few_rows.dull(data, data).values():
        assert few_rows.auc(data.truth, scores) == 1.0
    assert few_rows.auc(np.zeros(3), np.arange(3)) == 0.5


def test_data_without_tables_of_two_classes_are_refused(tmp_path, monkeypatch):
    judged = subject(tmp_path, monkeypatch)
    judged.dataset = judged.dataset.subset([i for i, one in enumerate(judged.dataset.records) if one.label == "a: 0"])
    with pytest.raises(WrongUse, match="no table of 'rows' has rows of two classes"):
        few_rows.evaluate(judged)
