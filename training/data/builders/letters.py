"""letters: the letters A to Z spoken in fourteen languages, each of which is heard in one split alone.

Recordings of KLettres, most of them by one person a language (English has two folders), from where the voice begins on,
at 8,000 samples a second like `instruments`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import soundfile

from enfold.modalities.audio import resampled
from training.data.builders import Facts, Package, write

RATE, SECONDS = 8_000, 1.5  # of a letter, at most
QUIET, BEFORE_SECONDS = 0.05, 0.05  # of the peak: what is softer comes before the voice; how much of it is kept
ROOT = "usr/share/klettres/"

FACTS = Facts(
    name="letters",
    modality="audio",
    title="Letters: A to Z spoken in fourteen languages (KLettres)",
    licence="GPL-2+",
    packages=(
        Package(
            registry="debian",
            name="klettres-data",
            version="4:22.12.3-1",
            file="klettres-data_4%3a22.12.3-1_all.deb",
            size_bytes=39_529_084,
            sha256="1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8",
            wanted=(ROOT,),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write a FLAC file for every letter and the manifest into `target`."""
    write(FACTS, list(_rows(packages["klettres-data"] / ROOT, target)), target)


def _rows(folder: Path, target: Path) -> Iterator[dict[str, Any]]:
    for listed in sorted(folder.glob("*/sounds.xml")):
        for sound in ElementTree.parse(listed).iterfind(".//alphabet/sound"):
            letter, file = sound.get("name", ""), folder / sound.get("file", "")
            if letter in set("ABCDEFGHIJKLMNOPQRSTUVWXYZ") and file.is_file():
                values, rate = soundfile.read(file, dtype="float32", always_2d=True)
                path = f"{listed.parent.name}/{letter}.flac"
                (target / path).parent.mkdir(exist_ok=True)
                soundfile.write(target / path, spoken(values.mean(1), rate), RATE)
                yield {"path": path, "label": letter, "group": listed.parent.name.partition("_")[0]}


def spoken(values: np.ndarray, rate: int) -> np.ndarray:
    """Samples [S] from where the voice begins on, at RATE."""
    begins = int((np.abs(values) > QUIET * np.abs(values).max()).argmax())
    start = max(0, begins - round(BEFORE_SECONDS * rate))
    return resampled(values[start : start + round(SECONDS * rate)], rate, RATE)
