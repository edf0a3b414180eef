"""trials: patients of eleven studies, and people out of prison, as rows: does it come to the event before the median?

The tables of R's package survival and two of the package lifelines, with the columns and names that they have there. A
row is labelled by its table and by whether the event (death, relapse, loss of sight, arrest) came before the median
follow-up; rows censored before are left out, and so are columns that tell what came later.
"""

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from training.data.builders import Facts, Package, write
from training.data.r_tables import SURVIVAL, Line, cell, of_r

ROWS = 2000  # of a table, at most

FACTS = Facts(
    name="trials",
    modality="table",
    title="Trials: rows of twelve clinical and social studies, each with columns of its own, and what came of them",
    licence="GPL-2 (r-cran-survival) and MIT (lifelines), of the packages; of the data themselves not stated",
    packages=(
        SURVIVAL,
        Package(
            registry="pypi",
            name="lifelines",
            version="0.30.3",
            file="lifelines-0.30.3-py3-none-any.whl",
            size_bytes=409_055,
            sha256="44802480a28d6cb836c7fea4a54ec0ba220eb31c6d7444589637a8bd66066e8c",
            wanted=("lifelines/datasets/ACTG175.csv", "lifelines/datasets/rossi.csv"),
        ),
    ),
)


@dataclass(frozen=True)
class Study:
    """What the columns of a table are, beyond those that are known of a person at the beginning."""

    time: str  # of follow-up
    event: str
    happened: float = 1  # the value of `event` for what is to be foretold
    later: tuple[str, ...] = ()  # what is known only afterwards, and what numbers the rows
    person: str | None = None  # who a row is of, where several may be
    only: tuple[str, float] | None = None  # a column, and its value in the rows that count
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what 0, 1, 2 … mean in a column
    names: Mapping[str, str] = field(default_factory=dict)  # where the table's own would mean another unit


STUDIES = {
    "rotterdam": Study("rtime", "recur", later=("pid", "dtime", "death")),
    "gbsg": Study("rfstime", "status", later=("pid",)),
    "pbc": Study("time", "status", happened=2, later=("id",)),
    "colon": Study("time", "status", later=("id", "study"), only=("etype", 2), codes={"sex": ("f", "m")}),
    "lung": Study("time", "status", happened=2, later=("inst",), codes={"sex": ("", "m", "f")}),
    "nwtco": Study("edrel", "rel", later=("seqno", "in.subcohort"), names={"age": "age in months"}),
    "flchain": Study("futime", "death", later=("chapter",)),
    "mgus2": Study("futime", "death", later=("id", "ptime", "pstat")),
    "retinopathy": Study("futime", "status", person="id"),
    "veteran": Study("time", "status"),
    "ACTG175": Study("days", "cens", later=("", "pidnum", "offtrt", "cd420", "cd496", "r", "cd820")),
    "rossi": Study("week", "arrest"),
}


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest into `target`; rows stand in it."""
    survival = packages["r-cran-survival"] / "usr/lib/R/library/survival/data"
    datasets = packages["lifelines"] / "lifelines/datasets"
    tables = of_r(survival, [name for name in STUDIES if not (datasets / f"{name}.csv").is_file()])
    tables |= {file.stem: of_csv(file) for file in datasets.glob("*.csv")}
    write(FACTS, [row for name, study in STUDIES.items() for row in rows(name, study, tables[name])], target)


def rows(name: str, study: Study, lines: list[Line]) -> list[dict[str, Any]]:
    """Labelled rows of a table as the manifest has them."""
    numbered = [(f"{name}-{number:04}", line) for number, line in enumerate(lines, 1)]
    if study.only is not None:
        column, value = study.only
        numbered = [(id, line) for id, line in numbered if line[column] == value]
    median = float(np.median([number_of(line[study.time]) for _, line in numbered]))
    found = []
    for id, line in sorted(numbered, key=lambda pair: hashlib.sha256(pair[0].encode()).digest()):
        happened, time = line[study.event] == study.happened, number_of(line[study.time])
        if happened or time >= median:  # else nobody knows
            outcome = "event" if happened and time <= median else "none"
            group = f"{name}/{line[study.person]:g}" if study.person else id
            about = {"id": id, "label": f"{name}: {outcome}", "group": group, "study": name}
            found.append({**about, "table": json.dumps(cells(study, line))})
    return sorted(found[:ROWS], key=lambda row: str(row["id"]))


def cells(study: Study, line: Line) -> Line:
    """What is known of a person at the beginning."""
    hidden = {study.time, study.event, *study.later, study.person, study.only and study.only[0]}
    kept = {}
    for column, value in line.items():
        if column not in hidden:
            coded = column in study.codes and isinstance(value, float)
            kept[study.names.get(column, column)] = study.codes[column][int(number_of(value))] if coded else value
    return kept


def number_of(value: float | str | None) -> float:
    assert isinstance(value, float)
    return value


def of_csv(file: Path) -> list[Line]:
    with file.open(newline="") as lines:
        return [{name: cell(text) for name, text in row.items()} for row in csv.DictReader(lines)]
