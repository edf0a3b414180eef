"""Records: the order of events means nothing, days make visits, and what cannot be meant is refused in a sentence."""

import json

import numpy as np
import pytest

from enfold.errors import BadItem, WrongUse
from enfold.modalities.records import UNKNOWN, Records, RecordsJson, RecordsPreprocess
from tests.examples import examples, reader

EVENTS = [
    {"time": 3, "code": "cough"},
    {"time": 0, "code": "weight", "value": 81.5},
    {"time": 0.5, "code": "fever", "value": 38.5},
]


@pytest.fixture
def modality(tmp_path) -> Records:
    return reader("records", tmp_path)


def arrays(modality, item):
    return modality.prepare(modality.read(item))[0].arrays


def test_order_repetition_spelling_and_file_do_not_matter(modality):
    wanted = arrays(modality, EVENTS)
    table = "code;time;value\nFever ;0.5;38.5\ncough;3;\nweight;0;81.5\nweight;0;81.5\n"
    sent = modality.from_json(RecordsJson(records={"events": EVENTS[::-1]}))
    for other in (EVENTS[::-1], [*EVENTS, EVENTS[0]], table.encode(), sent):
        for name, values in arrays(modality, other).items():
            np.testing.assert_array_equal(values, wanted[name])
    assert modality.mark(modality.read(EVENTS)) == modality.mark(modality.read(EVENTS[::-1]))


def test_events_of_one_day_are_a_visit_and_gaps_are_days_between_them(modality):
    found = arrays(modality, EVENTS)
    assert found["codes"].shape == (2, 3)
    assert ((found["codes"] > 0).sum(1) == (2, 1)).all()
    assert found["gaps"].tolist() == [0, 3]


def test_dates_count_from_the_first(modality):
    dated = [{"time": "2020-01-01T08:00", "code": "cough"}, {"time": "2020-01-11", "code": "fever"}]
    history = modality.read({"events": dated, "until": "2020-02-01"})
    np.testing.assert_allclose(history.times, [0, 10 - 1 / 3])
    assert history.until == pytest.approx(31 - 1 / 3)


def test_an_unknown_code_is_one_and_only_none_of_the_known_ones_is_refused(modality):
    found = arrays(modality, [*EVENTS, {"time": 9, "code": "plague"}])
    assert found["codes"][-1].tolist() == [UNKNOWN, 0, 0]
    with pytest.raises(BadItem, match="trained on: cough, fever, weight"):
        arrays(modality, [{"time": 9, "code": "plague"}])


def test_values_are_read_by_the_tenths_of_training(tmp_path):
    modality = Records(RecordsPreprocess(), folder=tmp_path)
    persons = [modality.read([{"time": 0, "code": "test", "value": value}]) for value in range(1000)]
    (tmp_path / "resources").mkdir()
    for path, content in modality.learnt(persons).items():
        (tmp_path / path).write_bytes(content)
    numbers = [arrays(modality, [{"time": 0, "code": "test", "value": v}])["codes"][0, 0] for v in (-9, 150, 950, 1e6)]
    assert np.diff(numbers).tolist() == [1, 8, 0]
    assert arrays(modality, [{"time": 0, "code": "test"}])["codes"][0, 0] == numbers[0] - 1
    assert modality.input_size == 2 + 11


def test_of_a_full_visit_the_rarest_codes_are_kept(tmp_path):
    modality = Records(RecordsPreprocess(visit_codes=2), folder=tmp_path)
    persons = [modality.read([{"time": 0, "code": code} for code in "abc"[:count]]) for count in (1, 2, 3)]
    (tmp_path / "resources").mkdir()
    for path, content in modality.learnt(persons).items():
        (tmp_path / path).write_bytes(content)
    full = arrays(modality, [{"time": 0, "code": code} for code in "abcx"])
    assert full["codes"].tolist() == [[modality.known.codes["c"].number, modality.known.codes["b"].number]]


def test_what_is_known_throughout_stands_at_every_visit(modality):
    found = arrays(modality, {"events": EVENTS, "about": {"age": 61, "sex": "f", "colour": "red"}})["about"]
    np.testing.assert_array_equal(found[0], found[1])
    other = arrays(modality, {"events": EVENTS, "about": {"age": 30, "sex": "m"}})["about"]
    assert (found[0] != other[0]).sum() == 3  # a number, and a place for each of two words
    narrow = Records(RecordsPreprocess(places=1))
    with pytest.raises(WrongUse, match="takes 3 places"):
        narrow.learnt(
            [
                modality.read(examples("records").files[".json"]),
                modality.read({"events": EVENTS, "about": {"sex": "m", "age": 3}}),
            ]
        )


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ([{"time": -3, "code": "cough"}], "event 1 is at day -3: count days from the first event on"),
        ([{"time": 3, "code": "cough"}, {"time": "2020-01-01", "code": "cough"}], "numbers and some are dates"),
        ([{"time": 1e9, "code": "cough"}], "check the unit"),
        ([{"time": True, "code": "cough"}], "is no time"),
        ([{"time": 1, "code": "cough", "value": "high"}], "the value of event 1 is 'high'"),
        ({"events": EVENTS, "until": 1}, "after 'until', day 1"),
        ({"events": EVENTS, "about": 3}, "about is an object"),
        (b"subject_id,time,code\n1,0,cough\n", "a file for each person"),
    ],
)
def test_what_cannot_be_meant_is_refused(modality, item, sentence):
    with pytest.raises(BadItem, match=sentence):
        modality.read(item if isinstance(item, bytes) else json.dumps(item))


def test_inputs_that_somebody_else_prepared_are_looked_at(modality):
    batch = modality.collate([modality.prepare(modality.read(EVENTS))[0]])
    for name, values in {
        "codes": batch["codes"] + 1000,
        "gaps": batch["gaps"] - 9,
        "about": batch["about"][..., :1],
    }.items():
        with pytest.raises(BadItem):
            modality.prepared(batch | {name: values})
    with pytest.raises(BadItem, match="padding"):
        modality.prepared(batch | {"codes": batch["codes"][:, ::-1] * np.array([[[0], [1]]])})
