"""Sounds: read lazily and alike from every file, seen as Kaldi's filter bank sees them, refused where broken."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from enfold.errors import BadItem, TooLarge
from enfold.modalities.audio import Audio, AudioLimits, AudioPreprocess, Sound, log_mel, mel_filters
from tests.examples import sound

RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 0.1, 24_000).astype(np.float32)
SPEC = AudioPreprocess(rate=16_000, mels=40, frames=100)
MODALITY = Audio(SPEC)


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def seen(data: bytes, modality: Audio = MODALITY) -> np.ndarray:
    return modality.prepare(modality.read(data))[0].arrays["audio"]


@pytest.mark.parametrize(("rate", "mels"), [(16_000, 128), (8_000, 64), (22_050, 80)])
def test_energies_are_those_of_an_independent_filter_bank(rate, mels):
    window, hop = round(rate * 0.025), round(rate * 0.010)
    size = 2 ** int(np.ceil(np.log2(window)))
    filters = mel_filter_bank(
        num_frequency_bins=size // 2 + 1,
        num_mel_filters=mels,
        min_frequency=20,
        max_frequency=rate / 2,
        sampling_rate=rate,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    np.testing.assert_allclose(mel_filters(rate, mels, size), filters, atol=1e-9)
    wanted = spectrogram(
        (NOISE + 0.3 - (NOISE + 0.3).mean()).astype(np.float64),
        window_function(window, "hann", periodic=False),
        frame_length=window,
        hop_length=hop,
        fft_length=size,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=float(np.finfo(np.float32).eps),
        remove_dc_offset=True,
    )
    count = 1 + (len(NOISE) - window) // hop
    assert wanted.shape == (mels, count)
    spec = AudioPreprocess(rate=rate, mels=mels, frames=count, mean=-4.0, std=3.0)
    np.testing.assert_allclose(log_mel(NOISE + 0.3, spec), (wanted + 4) / 6, atol=2e-4)


def test_a_short_sound_is_filled_up_with_energies_of_nought_before_they_are_normalised():
    found = seen(sound(NOISE[:8000], "WAV", "FLOAT"))
    frames = 1 + (8000 - 400) // 160
    assert found.shape == (40, 100)
    np.testing.assert_allclose(found[:, frames:], -SPEC.mean / (2 * SPEC.std), rtol=1e-6)
    assert (found[:, :frames].std(0) > 0).all()


def test_a_sound_shorter_than_one_window_is_one_frame():
    found = seen(sound(NOISE[:7], "WAV", "FLOAT"))
    assert np.ptp(found[:, 0]) > 0
    assert np.ptp(found[:, 1:]) == 0


def test_silence_is_finite():
    found = seen(sound(np.zeros(16_000), "FLAC"))
    assert np.isfinite(found).all()
    assert np.ptp(found[:, :98]) == 0


def test_channels_are_averaged():
    both = np.stack([NOISE, RNG.normal(0, 0.1, len(NOISE)).astype(np.float32)], 1)
    np.testing.assert_allclose(seen(sound(both, "WAV", "FLOAT")), seen(sound(both.mean(1), "WAV", "FLOAT")), atol=1e-5)


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
def test_a_tone_lies_in_the_same_band_at_every_rate(rate):
    wanted, found = (seen(sound(tone(1_000, r), "WAV", "FLOAT", r))[:, 20:80].mean(1) for r in (16_000, rate))
    assert found.argmax() == wanted.argmax()
    assert found.max() == pytest.approx(wanted.max(), abs=0.05)


def test_what_the_encoders_rate_cannot_hold_is_filtered_away():
    """Else a tone of 11 kHz would be heard as one of 5 kHz."""
    high, low = (seen(sound(tone(hertz, 44_100), "WAV", "FLOAT", 44_100)) for hertz in (11_000, 5_000))
    assert high[:, 20:80].max() < low[:, 20:80].max() - 1  # in units of 2 std: e^9 in energy


def test_every_file_of_a_sound_looks_alike():
    """A sum of tones, which no codec spoils much."""
    values = sum(tone(hertz, 48_000, 1.1) for hertz in (300, 900, 2_500)) / 3
    wanted = seen(sound(values, "WAV", "FLOAT", 48_000))
    for kind, coding in (("WAV", "PCM_24"), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)):
        loud = wanted > wanted.max() - 1
        assert abs(seen(sound(values, kind, coding, 48_000)) - wanted)[loud].mean() < 0.1, (kind, coding)


def test_parts_follow_one_another_in_samples_as_stored_and_reach_the_end():
    value = MODALITY.read(sound(np.tile(NOISE, 4), "FLAC", rate=32_000))
    parts = [sample.part for sample in MODALITY.prepare(value, parts=True)]
    size = MODALITY.reach(value)
    assert size == 2 * (99 * 160 + 400)
    assert [part.index for part in parts] == [0, 1, 2]
    assert [(part.start, part.end) for part in parts] == [(0, size), (size, 2 * size), (96_000 - size, 96_000)]


def test_a_part_is_seen_as_if_it_were_cut_out():
    value = MODALITY.read(sound(np.tile(NOISE, 4), "WAV", "FLOAT"))
    for sample in MODALITY.prepare(value, parts=True):
        cut = np.tile(NOISE, 4)[sample.part.start : sample.part.end]
        np.testing.assert_array_equal(sample.arrays["audio"], seen(sound(cut, "WAV", "FLOAT")))


def test_a_sound_that_fits_has_no_parts():
    assert [sample.part for sample in MODALITY.prepare(MODALITY.read(sound(NOISE[:16_000], "WAV")), parts=True)] == [
        None
    ]


def test_of_a_long_file_only_what_is_looked_at_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "long.wav"
    path.write_bytes(sound(np.tile(NOISE, 100), "WAV"))
    asked: list[int] = []

    def watched(self: Sound, spans):
        spans = list(spans)
        asked.extend(end - start for start, end in spans)
        return whole(self, spans)

    whole = Sound.spans
    monkeypatch.setattr(Sound, "spans", watched)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("the file was read as a whole"))
    value = MODALITY.read(path)
    assert (value.file, value.rate, value.frames, asked) == (path, 16_000, 2_400_000, [])
    MODALITY.prepare(value)
    assert asked == [MODALITY.reach(value)]


def test_a_file_that_is_gone_when_its_samples_are_needed_is_refused(tmp_path: Path):
    path = tmp_path / "gone.wav"
    path.write_bytes(sound(NOISE, "WAV"))
    value = MODALITY.read(path)
    path.unlink()
    with pytest.raises(BadItem, match="the file cannot be read"):
        MODALITY.prepare(value)


def test_copies_are_known_by_their_samples():
    values = (NOISE * 2**15).astype(np.int16)
    wav, flac, other = (sound(values, kind) for values, kind in ((values, "WAV"), (values, "FLAC"), (-values, "WAV")))
    marks = [MODALITY.mark(MODALITY.read(data)) for data in (wav, flac, other)]
    assert marks[0] == marks[1] != marks[2]


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_sound_that_breaks_off_is_refused_or_the_shorter_one(kind: str):
    data = sound(np.tile(NOISE, 2), kind)
    for share in (0.001, 0.01, 0.2, 0.6, 0.95):
        try:
            value = MODALITY.read(data[: int(len(data) * share)])
            MODALITY.prepare(value, parts=True)
        except BadItem as refused:
            assert any(words in str(refused) for words in ("cut short", "no samples", "no WAV, FLAC"))  # noqa: PT017
        else:
            assert kind != "FLAC"
            assert value.frames < 48_000


def test_damage_is_found_before_a_training_meets_it():
    data = bytearray(sound(NOISE, "FLAC"))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    value = MODALITY.read(bytes(data))
    with pytest.raises(BadItem, match="damaged or cut short"):
        MODALITY.mark(value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "no WAV, FLAC, Ogg or MP3"),
        (b"\xff\xd8\xff\xe0 a picture", "damaged|no WAV"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "damaged|no WAV"),
        (sound(NOISE, "AIFF"), "no WAV, FLAC, Ogg or MP3"),
        (sound(NOISE[:0], "WAV"), "has no samples"),
        (sound(NOISE[:80], "WAV", rate=8), "8 samples a second; 2,000 to 384,000 are taken"),
        (sound(np.array([0.1, np.nan, 0.2] * 200), "WAV", "FLOAT"), "not finite"),
        (sound(np.array([0.1, -np.inf, 0.2] * 200), "WAV", "DOUBLE"), "not finite"),
    ],
)
def test_a_sound_that_makes_no_sense_is_refused_in_a_sentence(data: bytes, sentence: str):
    with pytest.raises(BadItem, match=sentence):
        seen(data)


def test_an_mp3_without_a_header_of_its_length_is_as_long_as_it_sounds():
    """Of a variable rate, whose first frames tell little of the rest."""
    values = np.concatenate([np.zeros(40_000), np.tile(NOISE, 3)])
    data = sound(values, "MP3")
    header = data.index(b"Xing")
    bare = data[data.index(data[:2], header) :]
    value = MODALITY.read(bare)
    assert abs(value.frames - len(values)) < 3_000  # the codec's own delay is no longer taken off
    assert len(MODALITY.prepare(value, parts=True)) == len(MODALITY.prepare(MODALITY.read(data), parts=True))


def test_numbers_far_beyond_full_scale_stay_finite():
    assert np.isfinite(seen(sound(NOISE * 1e37, "WAV", "FLOAT"))).all()


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"max_channels": 1}, "2 channels; at most 1"),
        ({"max_seconds": 1}, "lasts 2 s; at most 1 s: cut out the part you mean"),
        ({"max_bytes": 1000}, "at most 1,000 are read"),
    ],
)
def test_limits_are_held_against_the_header(limits, sentence, tmp_path: Path):
    data = sound(np.stack([NOISE, NOISE], 1), "FLAC")
    (tmp_path / "a.flac").write_bytes(data)
    small = Audio(SPEC, AudioLimits(**limits))
    for item in (data, tmp_path / "a.flac", str(tmp_path / "a.flac")):
        with pytest.raises(TooLarge, match=sentence):
            small.read(item)


def test_a_sound_of_three_hours_is_refused_by_its_header(tmp_path: Path):
    file, rate = tmp_path / "long.wav", 16_000
    size = 3 * 3600 * rate * 2
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)  # samples, one channel of 16 bits
    file.write_bytes(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16) + form)
    with file.open("ab") as written:
        written.write(b"data" + struct.pack("<I", size))
    os.truncate(file, 44 + size)  # silence that no disk holds
    with pytest.raises(TooLarge, match=r"lasts 10,800 s; at most 3,600 s"):
        MODALITY.read(file)


def test_a_header_that_lies_about_its_length_is_refused():
    """A FLAC of a second that says it lasts for days, and one that says it lasts a minute."""
    data = sound(NOISE, "FLAC")
    at = data.index(struct.pack(">I", len(NOISE)))
    for frames, error, sentence in ((2**31, TooLarge, "lasts 134,218 s"), (960_000, BadItem, "cut short")):
        value = data[:at] + struct.pack(">I", frames) + data[at + 4 :]
        with pytest.raises(error, match=sentence):
            MODALITY.prepare(MODALITY.read(value), parts=True)


def test_samples_without_a_rate_are_refused():
    with pytest.raises(BadItem, match="samples alone have no rate"):
        MODALITY.read(NOISE)


def test_a_thumbnail_shows_high_tones_above_low_ones():
    def brightest(hertz: float) -> int:
        picture = Image.open(io.BytesIO(Audio(None).thumbnail(MODALITY.read(sound(tone(hertz, 16_000), "WAV")), 64)))
        return int(np.asarray(picture.convert("L"), float).mean(1).argmax())

    assert brightest(4_000) < brightest(1_000) < brightest(300)


@pytest.mark.parametrize("count", [399, 400, 2_000, 8_159, 8_160])
def test_a_thumbnail_shows_nothing_that_was_filled_up(count: int):
    picture = Image.open(io.BytesIO(MODALITY.thumbnail(MODALITY.read(sound(NOISE[:count], "WAV")), 64)))
    assert (np.asarray(picture.convert("L"), float).std(0) > 5).all()


@pytest.mark.parametrize(("kind", "coding"), [("OGG", "VORBIS"), ("MP3", None), ("FLAC", None)])
def test_spans_are_what_the_whole_file_has_there(kind, coding):
    """A decoder that jumps back and forth in a compressed file does not by itself give what it gives from the start."""
    noise = np.random.default_rng(0).normal(0, 0.1, (200_000, 2))
    data = sound(noise, kind, coding, 44_100)
    whole = soundfile.read(io.BytesIO(data), dtype="float32")[0].mean(1)
    spans = [(start, start + 20_000) for start in (0, 15_111, 30_222, 150_000, 60_000)]
    for (start, end), samples in zip(spans, Audio(AudioPreprocess()).read(data).spans(spans), strict=True):
        np.testing.assert_array_equal(samples, whole[start:end])
