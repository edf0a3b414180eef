"""The histories: a person's days count from the first, end with the follow-up, and stand in one split."""

import numpy as np
import pandas
import pytest

from enfold import modalities
from tests.unit.training.test_data_trials import database
from training.data.builders import histories
from training.data.sources import open_dataset


@pytest.fixture
def dataset(tmp_path):
    count = 40
    persons = {"id": np.arange(1.0, count + 1), "age": np.full(count, 50.0), "male": np.arange(count) % 2 * 1.0}
    persons["futime"] = np.where(np.arange(count) == 0, -900.0, 2000.0)
    measured = {"id": np.repeat(np.arange(1.0, count), 2), "days": np.tile([-730.5, 3000.0], count - 1)}
    measured |= {"test": pandas.Categorical(["hdl", "chol"] * (count - 1)), "value": np.arange(2.0 * (count - 1))}
    diagnosed = {"id": np.arange(1.0, 11), "days": np.full(10, 10.0), "event": pandas.Categorical(["stroke"] * 10)}
    tables = zip(histories.TABLES, map(pandas.DataFrame, (persons, measured, diagnosed)), strict=True)
    database(tmp_path / "r/usr/lib/R/library/survival/data", dict(tables))
    (tmp_path / "data/histories").mkdir(parents=True)
    histories.build({"r-cran-survival": tmp_path / "r"}, tmp_path / "data/histories")
    return open_dataset("histories", data=tmp_path / "data")


def test_persons_are_items_with_days_from_their_first_event(dataset):
    reader = modalities.get("records")(None)
    found = {record.id: dataset.read(i, reader) for i, record in enumerate(dataset.records)}
    assert len(found) == 38, "one has no follow-up, and one no measurement"
    person = found["00002"]
    assert person.times.tolist() == [0, 740.5]  # what comes after the follow-up is left out
    assert person.codes == ("hdl", "stroke")
    assert person.until == 2730.5
    assert person.about == {"age": 48.0, "sex": "m"}
    assert np.isnan(person.values[1])


def test_every_person_is_in_one_split_and_says_what_was_diagnosed(dataset):
    assert len({record.group for record in dataset.records}) == len(dataset)
    assert {record.split for record in dataset.records} == {"train", "val", "test"}
    assert sum(record.payload["stroke"] == "yes" for record in dataset.records) == 9
    assert len(dataset.only({"stroke": ["no"]})) == 29
