"""The trials: read without R, labelled by what came before the median, one person in one split."""

import gzip
import json
import lzma
import zlib
from collections import defaultdict

import numpy as np
import pandas
import pytest
import rdata

from enfold import modalities
from training.data.builders import trials
from training.data.builders.trials import Study
from training.data.sources import open_dataset

LZMA2 = [{"id": lzma.FILTER_LZMA2}]


def serialised(value) -> bytes:
    return rdata.unparser.unparse_data(rdata.conversion.convert_python_to_r_data(value))


def database(folder, tables) -> None:
    """R's, with every second record in zlib."""
    folder.mkdir(parents=True)
    stored, index = b"", {}
    for number, (name, frame) in enumerate(tables.items()):
        plain = serialised(frame)
        packed = zlib.compress(plain) if number % 2 else b"Z" + lzma.compress(plain, lzma.FORMAT_RAW, filters=LZMA2)
        record = len(plain).to_bytes(4, "big") + packed
        index[name] = np.array([len(stored), len(record)], np.int32)
        stored += record
    (folder / "Rdata.rdb").write_bytes(stored)
    (folder / "Rdata.rdx").write_bytes(gzip.compress(serialised({"variables": index})))


@pytest.fixture
def packages(tmp_path):
    r, lifelines = tmp_path / "r", tmp_path / "lifelines"
    tables = {}
    for name, study in trials.STUDIES.items():
        columns = {study.time: np.arange(1.0, 31), study.event: np.arange(30) % 2 * float(study.happened)}
        columns |= {
            "sex": np.tile([1.0, 2.0, 1.0], 10) - (name == "colon"),
            "dose": np.arange(30.0) + 100 * len(tables),
        }
        columns |= {study.person or "age": np.arange(30) // 2 + 1.0}
        columns |= {} if study.only is None else {study.only[0]: np.full(30, study.only[1])}
        tables[name] = pandas.DataFrame(columns | {"kind": pandas.Categorical(["a b", "c", "a b"] * 10)})
    (lifelines / "lifelines/datasets").mkdir(parents=True)
    for name in ("ACTG175", "rossi"):
        tables.pop(name).to_csv(lifelines / f"lifelines/datasets/{name}.csv", index=name == "ACTG175")
    database(r / "usr/lib/R/library/survival/data", tables)
    return {"r-cran-survival": r, "lifelines": lifelines}


def test_rows_say_what_was_known_at_the_beginning_and_a_person_is_in_one_split(packages, tmp_path):
    target = tmp_path / "trials"
    target.mkdir()
    trials.build(packages, target)
    dataset = open_dataset(str(target), data=tmp_path / "data")
    assert dataset.modality == "table"
    assert {record.payload["study"] for record in dataset.records} == set(trials.STUDIES)
    assert {record.label.partition(": ")[2] for record in dataset.records} == {"event", "none"}
    reader = modalities.get("table")(None)
    for i, record in enumerate(dataset.records):
        study, row = trials.STUDIES[record.payload["study"]], dataset.read(i, reader)
        assert not {study.time, study.event, study.person, "etype", ""} & set(row), record.id
        assert row["kind"] in ("a b", "c")
    assert {row["sex"] for row in _rows(dataset, reader, "lung")} == {"m", "f"}
    assert "age in months" in _rows(dataset, reader, "nwtco")[0]
    splits = defaultdict(set)
    for record in dataset.records:
        splits[record.group].add(record.split)
    assert all(len(found) == 1 for found in splits.values())
    eyes = [record.group for record in dataset.records if record.payload["study"] == "retinopathy"]
    assert len(set(eyes)) < len(eyes)


def _rows(dataset, reader, study):
    chosen = [i for i, record in enumerate(dataset.records) if record.payload["study"] == study]
    return [dataset.read(i, reader) for i in chosen]


def test_whoever_was_lost_before_the_median_has_no_label():
    lines = [{"t": float(t), "e": e, "x": 1.0} for t, e in ((1, 1.0), (2, 0.0), (3, 1.0), (4, 1.0), (5, 0.0))]
    found = trials.rows("s", Study("t", "e"), lines)
    assert {row["id"]: row["label"] for row in found} == {
        "s-0001": "s: event",
        "s-0003": "s: event",  # at the median itself
        "s-0004": "s: none",
        "s-0005": "s: none",
    }
    assert {json.loads(row["table"])["x"] for row in found} == {1.0}


def test_a_table_is_cut_to_its_most_rows_the_same_ones_every_time(monkeypatch):
    lines = [{"t": float(t), "e": 1.0, "x": float(t)} for t in range(20)]
    monkeypatch.setattr(trials, "ROWS", 7)
    found = [row["id"] for row in trials.rows("s", Study("t", "e"), lines)]
    assert len(found) == 7
    assert found == sorted(found) == [row["id"] for row in trials.rows("s", Study("t", "e"), lines)]
