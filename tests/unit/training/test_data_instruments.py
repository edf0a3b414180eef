"""Laws of the instruments: which samples are notes, of what family, how long they are held."""

from collections.abc import Sequence

import numpy as np
import pytest

from training.data.builders import instruments as builder


def font(presets: Sequence[tuple[int, int, list[list[dict[int, int]]]]], kinds: Sequence[int]) -> dict[str, np.ndarray]:
    """Tables of presets (bank, program, instruments), these as zones, and samples 0, 1, … of some kind."""
    instruments_of = [zones for _, _, instruments in presets for zones in instruments]
    layers = iter(range(len(instruments_of)))
    outer = [[{builder.INSTRUMENT: next(layers)} for _ in instruments] for _, _, instruments in presets]
    tables = {"shdr": np.zeros(len(kinds) + 1, builder.RECORDS["shdr"])}
    tables["shdr"]["kind"][:-1], tables["shdr"]["pitch"][:-1] = kinds, range(len(kinds))
    for names, owners in ((("phdr", "pbag", "pgen"), outer), (("inst", "ibag", "igen"), instruments_of)):
        zones = [zone for owner in owners for zone in owner]
        of_zones = [pair for zone in zones for pair in zone.items()]
        tables[names[0]] = np.zeros(len(owners) + 1, builder.RECORDS[names[0]])
        tables[names[0]]["bag"] = np.cumsum([0, *map(len, owners)])
        tables[names[1]] = np.zeros(len(zones) + 1, builder.RECORDS[names[1]])
        tables[names[1]]["first"] = np.cumsum([0, *map(len, zones)])
        tables[names[2]] = np.array([*of_zones, (0, 0)], builder.RECORDS[names[2]])
    tables["phdr"]["bank"][:-1], tables["phdr"]["program"][:-1] = zip(*(preset[:2] for preset in presets), strict=True)
    return tables


def found(tables: dict[str, np.ndarray]) -> list[tuple[int, int, bool]]:
    return [(int(preset["program"]), int(sample["pitch"]), looped) for preset, sample, looped in builder.notes(tables)]


def zone(sample: int, **settings: int) -> dict[int, int]:
    return {builder.SAMPLE: sample} | {getattr(builder, name): value for name, value in settings.items()}


def test_a_sample_belongs_to_the_first_preset_that_plays_it():
    strings, voice, drum = 0, 1, 2
    tables = font(
        [
            (128, 0, [[zone(drum)]]),
            (0, 88, [[zone(strings), zone(voice)]]),
            (8, 40, [[zone(strings)]]),
            (0, 48, [[zone(strings)]]),
        ],
        kinds=(1, 1, 1),
    )
    assert found(tables) == [(48, strings, False), (88, voice, False)]
    assert (builder.FAMILIES[48 // 8], builder.FAMILIES[88 // 8]) == ("ensemble", "synth_pad")


def test_of_a_stereo_pair_the_right_one_is_left_out():
    assert found(font([(0, 0, [[zone(0), zone(1)]])], kinds=(4, builder.RIGHT))) == [(0, 0, False)]


def test_a_zone_loops_as_it_says_or_as_the_one_for_all_says():
    common = {builder.MODE: 1}
    tables = font([(0, 0, [[common, zone(0), zone(1, MODE=0)], [zone(2, MODE=3), zone(3)]])], kinds=(1, 1, 1, 1))
    assert [looped for _, _, looped in found(tables)] == [True, False, True, False]


def test_lists_of_chunks_are_opened_and_odd_ones_are_padded():
    inner = b"smpl\x03\0\0\0abc\0" + b"shdr\x02\0\0\0de"
    data = b"LIST" + (len(inner) + 4).to_bytes(4, "little") + b"sdta" + inner
    file = np.frombuffer(b"RIFF" + (len(data) + 4).to_bytes(4, "little") + b"sfbk" + data, np.uint8)
    assert [(name, bytes(content)) for name, content in builder.chunks(file)] == [("smpl", b"abc"), ("shdr", b"de")]


def test_a_note_is_held_through_its_loop():
    values = np.arange(10, dtype=np.float32)
    held = builder.held(values, (4, 8), builder.RATE)
    assert len(held) == builder.SECONDS * builder.RATE
    assert held[:16].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7]


@pytest.mark.parametrize("seconds", [1, 9])
def test_a_note_without_a_loop_sounds_once(seconds: int):
    values = np.zeros(seconds * 16_000, np.float32)
    assert len(builder.held(values, None, 16_000)) == min(seconds, 4) * builder.RATE


def test_a_note_longer_than_its_loop_is_cut():
    values = np.zeros(100_000, np.float32)
    assert len(builder.held(values, (90_000, 95_000), 8_000)) == 32_000
