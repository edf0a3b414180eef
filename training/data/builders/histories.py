"""histories: 15,650 persons of Rochester, Minnesota: measurements and diagnoses, each on a day of 20 years.

The cohort of non-alcoholic fatty liver disease of R's package survival (nafld1 to nafld3). A code is a test, with its
value, or a diagnosis. Days count from a person's first event; what is stated ends with the follow-up. Persons without
a measurement or a follow-up after their first event are left out. Payload says who ever was diagnosed with what.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.data.builders import Facts, write
from training.data.r_tables import SURVIVAL, Line, of_r

TABLES = ("nafld1", "nafld2", "nafld3")  # persons, measurements, diagnoses
DIAGNOSES = {"diabetes": "diabetes", "afib": "afib", "stroke": "stroke", "MI": "infarction"}  # event -> payload
_YEAR = 365.25  # days

FACTS = Facts(
    name="histories",
    modality="records",
    title="Histories: measurements and diagnoses of 15,650 persons of one county over 20 years",
    licence="GPL-2 (r-cran-survival), of the package; of the data themselves not stated",
    packages=(SURVIVAL,),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest into `target`; persons stand in it."""
    tables = of_r(packages["r-cran-survival"] / "usr/lib/R/library/survival/data", list(TABLES))
    write(FACTS, rows(*(tables[name] for name in TABLES)), target)


def rows(persons: list[Line], measured: list[Line], diagnosed: list[Line]) -> list[dict[str, Any]]:
    """Of every person with a measurement, as the manifest has them."""
    tests, diagnoses = _by_person(measured), _by_person(diagnosed)
    found = []
    for person in persons:
        own, told = tests.get(person["id"], []), diagnoses.get(person["id"], [])
        lines = [line for line in (*own, *told) if _day(line) <= _number(person["futime"])]
        if not own or not lines:
            continue
        first = min(map(_day, lines))
        until = _number(person["futime"]) - first
        if until <= 0:
            continue
        events = [
            {"time": _day(line) - first, "code": line.get("test") or line["event"], "value": line.get("value")}
            for line in sorted(lines, key=_day)
        ]
        about = {
            "age": round(_number(person["age"]) + first / _YEAR, 1),  # at the first event
            "sex": "m" if person["male"] else "f",
        }
        name = f"{int(_number(person['id'])):05}"
        ever = {line["event"] for line in told}
        stated = {"events": events, "about": about, "until": until}
        facts = {"id": name, "label": None, "group": name, "records": json.dumps(stated, separators=(",", ":"))}
        found.append(facts | {column: "yes" if event in ever else "no" for event, column in DIAGNOSES.items()})
    return sorted(found, key=lambda row: str(row["id"]))


def _by_person(lines: list[Line]) -> dict[Any, list[Line]]:
    found = defaultdict(list)
    for line in lines:
        found[line["id"]].append(line)
    return found


def _day(line: Line) -> float:
    return _number(line["days"])


def _number(value: float | str | None) -> float:
    assert isinstance(value, float)
    return value
