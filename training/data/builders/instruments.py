"""instruments: notes of instruments, labelled by the sixteen families of General MIDI.

The samples of a sound font, held through their loop as a player holds a key, at 8,000 samples a second: what a higher
rate could hold would tell which recording a sound came from. Of a stereo pair the left one is taken. A sample belongs
to the first preset that plays it: later ones, most of them synthetic, lay the samples of others over one another. A
preset is a group, so that an instrument is heard in one split alone. Drum kits have no family and are left out.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile

from enfold.modalities.audio import resampled
from training.data.builders import Facts, Package, write

FAMILIES = (  # of eight programs each
    "piano",
    "chromatic_percussion",
    "organ",
    "guitar",
    "bass",
    "strings",
    "ensemble",
    "brass",
    "reed",
    "pipe",
    "synth_lead",
    "synth_pad",
    "synth_effects",
    "ethnic",
    "percussive",
    "sound_effects",
)
DRUMS = 128  # their bank
RATE, SECONDS = 8_000, 4.0  # of a note, at most
RIGHT = 2  # kind of a sample
INSTRUMENT, SAMPLE, MODE = 41, 53, 54  # numbers of what zones set; a mode's lowest bit is the loop
_BAG, _SETTING = [("first", "<u2"), ("", "<u2")], [("number", "<u2"), ("value", "<u2")]
RECORDS = {  # SoundFont 2.01, section 7
    "phdr": np.dtype([("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("", "V12")]),
    "pbag": np.dtype(_BAG),
    "pgen": np.dtype(_SETTING),
    "inst": np.dtype([("name", "S20"), ("bag", "<u2")]),
    "ibag": np.dtype(_BAG),
    "igen": np.dtype(_SETTING),
    "shdr": np.dtype(
        [
            ("name", "S20"),
            *((name, "<u4") for name in ("start", "end", "start_loop", "end_loop", "rate")),
            ("pitch", "u1"),
            ("", "i1"),
            ("link", "<u2"),
            ("kind", "<u2"),
        ]
    ),
}
FONT = "usr/share/sounds/sf2/FluidR3_GM.sf2"

FACTS = Facts(
    name="instruments",
    modality="audio",
    title="Instruments: notes of the presets of a General MIDI sound font (Fluid R3), by family",
    licence="MIT",
    packages=(
        Package(
            registry="debian",
            name="fluid-soundfont-gm",
            version="3.1-5.3",
            file="fluid-soundfont-gm_3.1-5.3_all.deb",
            size_bytes=119_610_208,
            sha256="6f531493ac4e4d9772fd96b2488ea1790af81c196135fbdd25997da0781fc60e",
            wanted=(FONT,),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write a FLAC file for every note and the manifest into `target`."""
    (target / "notes").mkdir()
    font = dict(chunks(np.memmap(packages["fluid-soundfont-gm"] / FONT, np.uint8, "r")))
    tables = {name: np.frombuffer(font[name], record) for name, record in RECORDS.items()}
    waves = np.frombuffer(font["smpl"], "<i2")
    rows = []
    for number, (preset, sample, looped) in enumerate(notes(tables)):
        values = waves[sample["start"] : sample["end"]] / np.float32(2**15)
        loop = tuple(int(sample[name]) - int(sample["start"]) for name in ("start_loop", "end_loop"))
        path = f"notes/{number:04d}.flac"
        soundfile.write(target / path, held(values, loop if looped else None, int(sample["rate"])), RATE)
        rows.append(
            {
                "path": path,
                "label": FAMILIES[preset["program"] // 8],
                "group": preset["name"].decode(),
                "name": sample["name"].decode(),
                "pitch": int(sample["pitch"]),
            }
        )
    write(FACTS, rows, target)


def chunks(file: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name and content of every chunk of a RIFF file, uint8 [bytes], lists opened."""
    while len(file):
        name, size = bytes(file[:4]).decode(), int.from_bytes(bytes(file[4:8]), "little")
        content = file[8 : 8 + size]
        if name in ("RIFF", "LIST"):
            yield from chunks(content[4:])
        else:
            yield name, content
        file = file[8 + size + size % 2 :]


def notes(tables: Mapping[str, np.ndarray]) -> Iterator[tuple[np.void, np.void, bool]]:
    """(preset, sample, whether it is looped), every sample once; each table's last record marks its end."""
    samples = tables["shdr"][:-1]
    seen = set(np.flatnonzero(samples["kind"] == RIGHT).tolist())
    presets = tables["phdr"][:-1]
    for preset in np.lexsort((presets["program"], presets["bank"])):
        if presets[preset]["bank"] >= DRUMS:
            continue
        for layer in zones(preset, tables["phdr"], tables["pbag"], tables["pgen"]):
            if INSTRUMENT not in layer:
                continue
            common: dict[int, int] = {}  # what a zone without a sample says holds for those that follow
            for zone in zones(layer[INSTRUMENT], tables["inst"], tables["ibag"], tables["igen"]):
                if SAMPLE not in zone:
                    common = zone
                elif zone[SAMPLE] not in seen:
                    seen.add(zone[SAMPLE])
                    yield presets[preset], samples[zone[SAMPLE]], bool((common | zone).get(MODE, 0) & 1)


def zones(index: int, owners: np.ndarray, bags: np.ndarray, settings: np.ndarray) -> Iterator[dict[int, int]]:
    """Of a preset or an instrument: what each of its zones sets, by number."""
    for bag in range(owners[index]["bag"], owners[index + 1]["bag"]):
        yield dict(settings[bags[bag]["first"] : bags[bag + 1]["first"]].tolist())


def held(values: np.ndarray, loop: tuple[int, ...] | None, rate: int) -> np.ndarray:
    """Samples [S] through their loop for as long as SECONDS, or once without one; at RATE."""
    wanted = round(SECONDS * rate)
    if loop is not None:
        start, end = loop
        rounds = max(0, -(-(wanted - end) // (end - start)))
        values = np.concatenate([values[:end], np.tile(values[start:end], rounds)])
    return resampled(values[:wanted], rate, RATE)
