"""Rows with named columns: what is read, what is refused, and which tokens an encoder sees."""

import json

import numpy as np
import pytest

from enfold import modalities, wire
from enfold.client import json_item
from enfold.errors import BadItem, TooLarge
from enfold.modalities.table import NUMBER, TEXT, Declared, Table, TablePreprocess, words
from tests.examples import words as tokenizer_of

TRAINED = [
    {"age": 20, "tumour_size": 5.0, "sex": "f", "smoker": True, "code": "2"},
    {"age": 70, "tumour_size": None, "sex": "m", "smoker": False, "code": "3"},
]
KNOWN = ("age", "tumour", "size", "sex", "smoker", "code", "f", "m", "weight", "note", "colour", "red")


@pytest.fixture
def table(tmp_path) -> Table:
    made = Table(TablePreprocess(max_tokens=12, name_pieces=3, cell_tokens=4), folder=tmp_path)
    tokenizer_of(tmp_path, KNOWN)
    for path, content in made.learnt(map(made.read, TRAINED)).items():
        (tmp_path / path).write_bytes(content)
    return made


def seen(table: Table, row) -> list[tuple[int, float, tuple[str, ...]]]:
    """(kind, value, words) of every token."""
    [sample] = table.prepare(table.read(row))
    names = {table._pieces(word)[0]: word for word in KNOWN}
    arrays = sample.arrays
    return [
        (int(kind), round(float(value), 6), tuple(names.get(piece, "?") for piece in pieces if piece))
        for kind, value, pieces in zip(arrays["kinds"], arrays["values"], arrays["pieces"], strict=True)
    ]


def test_numbers_then_texts_then_flags_each_with_its_name(table):
    assert seen(table, {"smoker": True, "sex": "F", "age": 45}) == [
        (NUMBER, 0.5, ("age",)),
        (TEXT, 1.0, ("sex",)),
        (TEXT, 1.0, ("f",)),
        (TEXT, 1.0, ("smoker",)),
    ]


def test_the_order_of_columns_means_nothing(table):
    row = {"smoker": True, "sex": "f", "age": 45, "weight": Declared(3, 0, 10), "colour": "red"}
    for key, values in table.prepare(table.read(row))[0].arrays.items():
        backwards = table.prepare(table.read(dict(reversed(row.items()))))[0].arrays[key]
        np.testing.assert_array_equal(values, backwards)


def test_a_false_flag_and_a_missing_column_are_the_same(table):
    assert seen(table, {"age": 45, "smoker": False}) == seen(table, {"age": 45})
    assert seen(table, {"age": 45, "smoker": None, "sex": float("nan")}) == seen(table, {"age": 45})


def test_a_number_lies_between_the_least_and_the_greatest_of_training(table):
    assert [seen(table, {"age": age})[0][1] for age in (20, 70, 120)] == [0.0, 1.0, 2.0]
    assert seen(table, {"Tumour.Size": 6.0}) == [(NUMBER, 1.0, ("tumour", "size"))]  # one value in training: width 1


def test_a_row_without_some_columns_works_and_one_without_all_is_refused(table):
    assert len(seen(table, {"sex": "m"})) == 2
    told = "none of the columns that this model was trained on: age, code, sex, smoker, tumour size"
    for row in ({"weight": 3.0}, {"weight": 3.0, "age": None}):
        with pytest.raises(BadItem, match=told):
            table.prepare(table.read(row))


def test_unknown_texts_and_flags_are_read_by_their_names_and_numbers_need_a_range(table):
    known = [(NUMBER, 0.5, ("age",))]
    assert seen(table, {"age": 45, "colour": "red"}) == [*known, (TEXT, 1.0, ("colour",)), (TEXT, 1.0, ("red",))]
    assert seen(table, {"age": 45, "weight": 1e9}) == known  # nobody knows how much that is
    declared = {"age": 45, "weight": {"value": 7, "low": 5, "high": 9}}
    assert seen(table, declared) == [*known, (NUMBER, 0.5, ("weight",))]
    with pytest.raises(BadItem, match="column 'weight': value, low and high are numbers, low below high"):
        table.read({"weight": {"value": 7, "low": 9, "high": 5}})


def test_cells_are_taken_as_their_column_holds_them(table):
    assert seen(table, {"age": "45", "smoker": 1, "code": 2}) == [
        (NUMBER, 0.5, ("age",)),
        (TEXT, 1.0, ("code",)),
        (TEXT, 1.0, ("?",)),
        (TEXT, 1.0, ("smoker",)),
    ]
    assert seen(table, {"smoker": "yes", "age": "NA", "sex": "f"}) == seen(table, {"smoker": True, "sex": "f"})
    for row, told in (
        ({"age": "old"}, "column 'age' is a number .20 to 70.; 'old' is neither that nor null"),
        ({"smoker": 3}, "column 'smoker' is true or false; 3 is neither"),
        ({"age": 1e7}, "column 'age' is 1e.07, far from the 20 to 70 that are known: check its unit"),
    ):
        with pytest.raises(BadItem, match=told):
            table.prepare(table.read(row))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({}, "the row has no columns"),
        ({"age": None}, "none of the row's 1 columns has a value"),
        ({"age": {"years": 3}}, "column 'age' holds an object; a cell is a number"),
        ({"age": [3]}, "column 'age' holds a list"),
        ({" ": 3}, "a column of the row has no name"),
        ({3: 3}, "a column of the row has no name"),
        ({"age": float("inf")}, "column 'age' is infinite"),
        ({"age": 10**400}, "too large for a number"),
        ({"note": "\ud800"}, "lone surrogate"),
        (b"age,age\n1,2\n", "column 'age' stands twice"),
        ({"age": 1, "age ": 2}, "column 'age' stands twice"),
        (b'{"age": 1, "age": 2}', "column 'age' stands twice"),
        (b"age,sex\n1\n", "names 2 columns, and its row has 1 cells"),
        (b"age\n1\n2\n", "this one has 3 lines"),
        ("age,note\n1,é\n".encode("latin-1"), "not UTF-8 .byte 11.: save the whole file in one encoding"),
        (b"[{}]", "a list of 1; one row is an object"),
        (b'{"a": ' + b"[" * 10_000, "no JSON object, or cut short"),
    ],
)
def test_what_is_no_row_is_said(table, row, told):
    with pytest.raises(BadItem, match=told):
        table.read(row)


def test_what_is_too_large_is_said(table):
    for row, told in (
        ({"note": "x" * 2**20}, "column 'note' has a text of 1,048,576 characters; at most 20,000"),
        ({f"c{i}": i for i in range(10_001)}, "the row has 10,001 columns; at most 10,000"),
        ({"x" * 500: 1}, "a column's name has 500 characters"),
    ):
        with pytest.raises(TooLarge, match=told):
            table.read(row)


def test_thousands_of_columns_are_read_known_ones_first_or_in_parts(table):
    row = {f"weight {i}": "red" for i in range(3000)} | {"age": 45}
    [sample] = table.prepare(table.read(row))
    assert sample.part is None
    assert (len(sample.arrays["kinds"]), sample.arrays["kinds"][0]) == (10, NUMBER)  # three of 3 words after it
    samples = table.prepare(table.read({name: row[name] for name in list(row)[-40:]}), parts=True)
    assert [sample.part.index for sample in samples] == list(range(len(samples)))
    assert samples[0].part.start == 0
    assert samples[-1].part.end == 40
    with pytest.raises(TooLarge, match=r"makes \d,\d+ parts"):
        table.prepare(table.read(row | {f"note {i}": "f m" for i in range(3000)}), parts=True)


@pytest.mark.parametrize("apart", [",", ";", "\t"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_csv_of_one_row_is_a_row(table, apart, coding):
    file = apart.join(["age", "note", "sex", "smoker", "code"]) + "\r\n"
    file += apart.join(["4.5e1", f'"né{apart} ""f"""', "NA", "true", "2"]) + "\r\n"
    wanted = {"age": 45.0, "note": f'né{apart} "f"', "sex": None, "smoker": True, "code": 2.0}
    assert table.read(file.encode(coding)) == wanted


def test_a_row_stands_in_a_request_as_it_is(table, tmp_path):
    row = {"age": 45, "sex": None, "note": "né"}
    sent = table.Json.model_validate(json_item(row, "table"))
    assert table.read(table.from_json(sent)) == table.read(row) == table.read(json.dumps(row))
    asked = wire.EmbedRequest.model_validate_json('{"items": [{"table": {"age": 45, "sex": NaN, "note": "né"}}]}')
    assert table.read(table.from_json(asked.items[0])) == table.read(row)
    assert modalities.of_path("row.json") is None
    assert modalities.of_path("rows.csv", among=["table"]) == "table"


def test_copies_are_known_by_what_they_say(table):
    one, two = table.read({"Age": 45, "sex": "f"}), table.read({"sex": "f", "age": 45.0, "note": None})
    assert table.mark(one) == table.mark(two) != table.mark(table.read({"age": 46, "sex": "f"}))


def test_names_are_words():
    assert words("Tumour_Size.mm ") == "tumour size mm"


def test_names_that_say_nothing_are_warned_of(table):
    with pytest.warns(UserWarning, match=r"2 of 3 columns have names that say nothing \(v1, v2\)"):
        table.learnt([table.read({"V1": 3, "V2": 4, "age": 5})])


def test_flags_of_noughts_and_ones_are_flags(table, tmp_path):
    learnt = json.loads(
        table.learnt([table.read({"a": i % 2, "b": i, "c": str(i)}) for i in range(4)])["resources/columns.json"]
    )
    kinds = {name: [kind for kind in ("numbers", "booleans", "texts") if facts[kind]] for name, facts in learnt.items()}
    assert kinds == {"a": ["booleans"], "b": ["numbers"], "c": ["texts"]}
    assert (learnt["b"]["low"], learnt["b"]["high"]) == (0, 3)
