"""Series: the same numbers in any file; what is missing is told; what cannot be meant is refused in a sentence."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from enfold.errors import BadItem, TooLarge
from enfold.modalities import of_path
from enfold.modalities.series import Series, SeriesJson, SeriesLimits, SeriesPreprocess, Signal, following, level
from tests.examples import examples, npy

MODALITY = Series(SeriesPreprocess(window=8))
COURSE = np.random.default_rng(0).normal(size=(20, 2)) * (1, 50) + (0, 1000)


def sent(series: object) -> Signal:
    return MODALITY.read(MODALITY.from_json(SeriesJson(series=series)))


def test_every_file_of_one_course_gives_its_values_times_and_names():
    files = examples("series").files
    table, columns, bare = (MODALITY.read(files[kind]) for kind in (".csv", ".parquet", ".npy"))
    np.testing.assert_allclose(table.values, bare.values)
    np.testing.assert_array_equal(columns.values, bare.values)
    np.testing.assert_array_equal(table.times, columns.times)
    assert table.channels == columns.channels == ("warm", "load")
    assert bare.times is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1\n2\n3\n", [1, 2, 3]),
        ("value\n1\nNA\n3\n", [1, np.nan, 3]),
        ("\ufeffdate;wert\n2020-01-01;1,5\n2020-01-02;2,5\n", [1.5, 2.5]),
        ("2020/01/01 00:00\t1\n2020/01/01 01:00\t\n2020/01/01 02:00\t3\n", [1, np.nan, 3]),
        (",date,value\n0,2020-01-01,4\n1,2020-01-02,5\n", [4, 5]),
        ("time,value\n0,1\n10,2\n40,5\n", [1, 2, np.nan, np.nan, 5]),
    ],
)
def test_tables_as_they_are_written(text, values):
    np.testing.assert_array_equal(MODALITY.read(text.encode()).values[:, 0], values)


def test_a_list_an_object_with_times_and_a_file_say_the_same():
    rows = COURSE.tolist()
    rows[3][1] = None
    days = [f"2020-01-{day + 1:02}" for day in range(20)]
    plain, dated = sent(rows), sent({"values": rows, "times": days, "channels": ["a", "b"]})
    np.testing.assert_array_equal(plain.values, dated.values)
    assert np.isnan(plain.values[3, 1])
    assert dated.times[-1] == np.datetime64("2020-01-20")
    assert sent(COURSE[:, 0].tolist()).values.shape == (20, 1)
    schema = SeriesJson.model_json_schema()["properties"]["series"]
    assert {"string", "array", "object"} == {kind["type"] for kind in schema["anyOf"]}


def test_steps_left_out_of_even_times_are_missing_and_uneven_times_stay():
    hours = np.array([0, 1, 2, 5, 6]) * np.timedelta64(1, "h") + np.datetime64("2020-01-01", "us")
    found = MODALITY.read(Signal(np.arange(5.0)[:, None], hours))
    np.testing.assert_array_equal(found.values[:, 0], [0, 1, 2, np.nan, np.nan, 3, 4])
    months = np.array(["2020-01", "2020-02", "2020-04"], "M8[us]")  # of 31, 29 and 31 days
    found = MODALITY.read(Signal(np.arange(3.0)[:, None], months))
    np.testing.assert_array_equal(found.values[:, 0], [0, 1, np.nan, 2])
    assert found.times[2] == np.datetime64("2020-03")
    light = np.array([0, 1.3, 1.9, 40, 41.234])
    found = MODALITY.read(Signal(np.arange(5.0)[:, None], light))
    np.testing.assert_array_equal(found.times, light)


@pytest.mark.parametrize(
    ("times", "ahead"),
    [
        (["2020-01-01T00:00", "2020-01-01T00:30"], ["2020-01-01T01:00:00", "2020-01-01T01:30:00"]),
        (["2020-11-01", "2020-12-01"], ["2021-01-01T00:00:00", "2021-02-01T00:00:00"]),
        (["2020-01-01", "2020-01-02", "2020-01-05"], None),
        ([1.0, 1.5], [2.0, 2.5]),
        ([1.0, 1.5, 9.0], None),
        (None, None),
    ],
)
def test_the_next_times(times, ahead):
    found = np.array(times) if times and isinstance(times[0], float) else times and np.array(times, "M8[us]")
    assert following(found, 2) == ahead


def test_the_encoder_sees_the_last_steps_and_where_there_is_nothing():
    holes = COURSE.copy()
    holes[15, 0] = np.nan
    [seen] = MODALITY.prepare(MODALITY.read(holes))
    mean, spread = level(holes)
    np.testing.assert_allclose(seen.arrays["series"][1], ((holes - mean) / spread)[-8:, 1], rtol=1e-5)
    np.testing.assert_array_equal(seen.arrays["measured"][0], [1, 1, 1, 0, 1, 1, 1, 1])
    [short] = MODALITY.prepare(MODALITY.read(COURSE[:3]))
    np.testing.assert_array_equal(short.arrays["measured"], [[0] * 5 + [1] * 3] * 2)
    parts = MODALITY.prepare(MODALITY.read(holes), parts=True)
    assert [(one.part.start, one.part.end) for one in parts] == [(0, 8), (8, 16), (12, 20)]
    np.testing.assert_array_equal(parts[-1].arrays["series"], seen.arrays["series"])


def test_neither_level_nor_unit_changes_what_the_encoder_sees():
    [seen] = MODALITY.prepare(MODALITY.read(COURSE))
    for other in (COURSE * 1e40, COURSE * 1e-40, COURSE + 1e9):
        [again] = MODALITY.prepare(MODALITY.read(other))
        np.testing.assert_allclose(again.arrays["series"], seen.arrays["series"], atol=1e-4)
    [flat] = MODALITY.prepare(MODALITY.read(np.full(20, 0.1)))
    assert not flat.arrays["series"].any()


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (b"date,v\n2020-01-02,1\n2020-01-01,2\n", "time 2020-01-01T00:00:00.000000 of step 2 lies before"),
        (b"date,v\n2020-01-01,1\n2020-01-01,2\n", "steps 1 and 2 of the series have the same time"),
        (b"time,v\n-1,1\n0,2\n", "begins at time -1: count from 0 on, or give dates"),
        (b"time,v\n1,1\n,2\n", "a step of the series has no time"),
        (b"date,v\n01/02/2020,1\n", "step 1: '01/02/2020' is no time: write 2010-12-31"),
        (b"a,b\n1,2\n3\n", "row 3 of the CSV has 1 cells, the first has 2"),
        (b"a,b\n1,2\n3,mild\n", "step 2, column 'b': 'mild' is no number"),
        ("a\n1\n2\né".encode("latin-1"), r"text in UTF-8 \(byte 6, in line 4\)"),
        (b"", "the CSV is empty"),
        (b"7\n", "has 1 value; a course needs 2 or more"),
        (b"7\n\n?\n", "has 1 value"),
        (b"[]", "the series is empty"),
        (b"[1, [2]]"[:-4] + b'"2"]', "step 2 of the series holds '2': a value is a number or null"),
        (b"[[1, 2], [3]]", "step 2 has 1 values, the first has 2"),
        (b'{"values": [1, 2, 3], "times": [1, 2]}', "3 steps and 2 times"),
        (b'{"values": [1, 2, 3], "channels": ["a", "b"]}', "2 names stand for the series' 1 channels"),
        (b"[1, Infinity]", "step 2 of channel 1 is infinite"),
        (npy(np.full(9, np.nan)), "channel 1 of the series holds no value at all"),
        (b"a,b\n1,\n2,\n", "channel 2 of the series holds no value at all"),
        (b"time,v\n1,1\n1e300,2\n", "reaches to time 1e\\+300"),
        (npy(np.zeros((3, 0))), "is empty: it has 3 steps of 0 channels"),
        (b"PAR1 and no more", r"\.parquet file is damaged"),
    ],
)
def test_what_is_no_series_is_said(item, sentence):
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(item)


def test_columns_of_words_are_no_channels():
    file = io.BytesIO()
    parquet.write_table(pa.table({"v": [1.0, 2.0], "weather": ["rain", "sun"]}), file)
    with pytest.raises(BadItem, match=r"column 'weather' of the \.parquet file is no numbers \(string\)"):
        MODALITY.read(file.getvalue())


def test_windows_in_which_nothing_was_measured_are_left_out():
    holes = COURSE.copy()
    holes[8:16] = np.nan
    parts = MODALITY.prepare(MODALITY.read(holes), parts=True)
    assert [(one.part.index, one.part.start) for one in parts] == [(0, 0), (1, 12)]
    holes[8:] = np.nan
    with pytest.raises(BadItem, match="the last 8 steps of the series hold no value: leave them out"):
        MODALITY.prepare(MODALITY.read(holes))


def test_a_long_series_comes_in_windows_and_a_longer_one_is_refused():
    few = Series(SeriesPreprocess(window=8), SeriesLimits(max_parts=3))
    assert len(few.prepare(few.read(np.arange(24.0)), parts=True)) == 3
    with pytest.raises(TooLarge, match="25 steps, 4 windows of 8; at most 3"):
        few.prepare(few.read(np.arange(25.0)), parts=True)
    short = Series(SeriesPreprocess(window=8), SeriesLimits(max_steps=20, max_channels=2, max_values=30))
    for item in (npy(COURSE), b"1,2\n" * 20, json.dumps(COURSE.tolist()).encode()):
        with pytest.raises(TooLarge, match="at most 20 steps and 30 values"):
            short.read(item)
    for item in (np.zeros((3, 3)), examples("series").files[".parquet"]):  # whose times are a column
        with pytest.raises(TooLarge, match="3 channels; at most 2"):
            short.read(item)
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)})
    with pytest.raises(TooLarge, match="1,000,000,000,000 steps"):
        MODALITY.read(file.getvalue())


def test_the_picture_shows_the_course_and_leaves_gaps():
    holes = np.linspace(0, 1, 50)
    holes[20:30] = np.nan
    picture = np.asarray(Image.open(io.BytesIO(MODALITY.thumbnail(MODALITY.read(holes), 60))).convert("L"))
    inked = picture < 200
    assert inked[45:, :15].any()  # from the lower left
    assert inked[:15, 45:].any()  # to the upper right
    assert not inked[:, 26:34].any()


def test_a_table_is_a_series_by_default_and_an_array_where_that_is_known():
    assert of_path("a.csv") == of_path("a.parquet") == "series"
    assert of_path("a.npy") != "series"
    assert of_path("a.npy", among=["series"]) == "series"


UNEVEN = Series(SeriesPreprocess(window=8, channels=2, times="scaled"))
MOMENTS = np.array([3, 3.5, 7, 7.1, 9, 13])


def test_an_encoder_of_uneven_steps_is_told_when_they_were():
    value = UNEVEN.read(Signal(COURSE[:6], MOMENTS))
    [seen] = UNEVEN.prepare(value)
    np.testing.assert_allclose(seen.arrays["times"], [0, 0, 0, 0.05, 0.4, 0.41, 0.6, 1], atol=1e-6)
    later = UNEVEN.prepare(UNEVEN.read(Signal(COURSE[:6], 1000 + 2 * MOMENTS)))[0]
    np.testing.assert_allclose(later.arrays["times"], seen.arrays["times"], atol=1e-6)
    [counted] = UNEVEN.prepare(UNEVEN.read(COURSE[:6]))
    np.testing.assert_allclose(counted.arrays["times"][2:], np.linspace(0, 1, 6), atol=1e-6)
    days = np.datetime64("2020-01-01", "us") + (MOMENTS * 86_400).astype("m8[s]")
    [dated] = UNEVEN.prepare(UNEVEN.read(Signal(COURSE[:6], days)))
    np.testing.assert_allclose(dated.arrays["times"], seen.arrays["times"], atol=1e-6)
    for part in UNEVEN.prepare(UNEVEN.read(COURSE), parts=True):
        assert (part.arrays["times"][0], part.arrays["times"][-1]) == (0, 1)


def test_of_channels_that_are_not_there_nothing_was_measured_and_more_are_refused():
    one, two = (UNEVEN.prepare(UNEVEN.read(COURSE[:6, :count]))[0] for count in (1, 2))
    np.testing.assert_array_equal(one.arrays["series"][0], two.arrays["series"][0])
    assert not one.arrays["measured"][1].any()
    assert {name: values.shape for name, values in UNEVEN.collate([one, two]).items()} == {
        "series": (2, 2, 8), "measured": (2, 2, 8), "times": (2, 8),
    }  # fmt: skip
    assert (UNEVEN.ragged, MODALITY.ragged) == (False, True)
    with pytest.raises(BadItem, match="has 3 channels; this model reads 2: leave out"):
        UNEVEN.prepare(UNEVEN.read(np.ones((6, 3)) * np.arange(6)[:, None]))


def test_moments_that_somebody_else_prepared_lie_in_their_window():
    batch = UNEVEN.collate(UNEVEN.prepare(UNEVEN.read(COURSE[:6])))
    assert len(UNEVEN.prepared(batch)) == 1
    with pytest.raises(BadItem, match="times of a window go from 0"):
        UNEVEN.prepared(batch | {"times": batch["times"] + 1})


def test_moments_are_told_to_an_encoder_of_so_many_channels_alone():
    with pytest.raises(ValueError, match="say how many, channels = 1"):
        SeriesPreprocess(times="scaled")
    assert SeriesPreprocess().model_dump(exclude_none=True) == {"window": 336}  # as before there were any
