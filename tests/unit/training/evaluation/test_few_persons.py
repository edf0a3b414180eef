"""Judging encoders of records on few persons: what tells the year to come is found, and nothing judged is changed."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from enfold.modalities.records import Records, RecordsPreprocess
from training.data.sources import open_dataset
from training.encoders import build
from training.evaluation import Subject, few_persons


def subject(folder, monkeypatch) -> Any:
    """Persons who come often or seldom, which the code of their visits tells."""
    monkeypatch.setattr(few_persons, "SIZES", (30, 300))
    monkeypatch.setattr(few_persons, "EPOCHS", 15)
    lines = []
    for i in range(90):
        often = i % 2 == 0
        events = [{"time": day, "code": "often" if often else "seldom"} for day in range(0, 800, 40 if often else 300)]
        split = ("train", "train", "train", "val", "test")[i // 2 % 5]
        lines.append({"id": str(i), "split": split, "records": {"events": events, "until": 1300}})
    (folder / "persons.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    dataset = open_dataset(str(folder / "persons.jsonl"), data=folder / "data")
    assert dataset.modality == "records"
    reader = Records(RecordsPreprocess(max_visits=16, visit_codes=2, places=2), folder=folder)
    (folder / "resources").mkdir()
    for path, content in reader.learnt(dataset.read(i, reader) for i in range(len(dataset))).items():
        (folder / path).write_bytes(content)
    torch.manual_seed(0)
    facts = {"dim": 16, "depth": 1, "max_visits": 16, "visit_codes": 2, "places": 2}
    encoder = build("sansformer", facts, reader.input_size).eval()
    run: Any = SimpleNamespace(seed=0, reader=lambda data: reader, sides={}, recipe=None)
    return Subject(encoder, run, dataset)


def test_the_year_to_come_is_foretold_and_the_encoder_stays(tmp_path, monkeypatch):
    judged = subject(tmp_path, monkeypatch)
    before = {name: weight.clone() for name, weight in judged.encoder.state_dict().items()}
    found = few_persons.evaluate(judged)
    counts = few_persons.persons(
        few_persons.SANSformers.build(judged.encoder, {}, judged.modality.preprocess, reader=judged.modality),
        judged,
        "test",
    ).counts.numpy()
    assert found["mae_30"] < np.abs(counts - counts.mean()).mean()
    assert {"gru_mae_30", "transformer_mae_30", "regression_mae_30", "regression_mae_300"} <= set(found)
    assert found["persons"] == 54
    for name, weight in judged.encoder.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)
