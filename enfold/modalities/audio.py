"""audio: a sound, as WAV, FLAC, Ogg (Vorbis, Opus) or MP3, of any rate.

A decoded sound is `Sound`: its rate and length, as its header tells, and where its samples lie. They are read in spans,
channels averaged, so that of an hour only what is looked at comes into memory. The encoder sees log-mel energies of
`frames` windows of 25 ms, one every 10 ms: of a longer sound its beginning, or parts that follow one another; a shorter
one is filled up with energies of 0. A WAV, Ogg or MP3 that breaks off is the sound up to there, as if recorded live.
"""
# S samples, T frames, M mel bands, F frequencies of a spectrum

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image as Pillow
from pydantic import BaseModel, Field

from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Modality, Part, Sample, Spec, Stored

_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.010
_PREEMPHASIS, _LOWEST_HZ = 0.97, 20.0
_FLOOR = float(np.finfo(np.float32).eps)  # of an energy, before the logarithm
_BEGINNINGS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff")  # of files: only their readers are let loose on them
_FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")  # as libsndfile calls them
_BEFORE = 8192  # samples decoded and thrown away before a span: an MP3 needs what came before to go on from a place
_BLOCK = 2**20  # samples read at once where all of them are


@dataclass(frozen=True)
class Sound:
    file: bytes | Path
    rate: int  # samples per second
    frames: int  # samples of each channel

    def spans(self, spans: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
        """Samples from `start` to `end` of each span, float32 [S], channels averaged. Raises BadItem."""
        with _opened(self.file) as sound:
            for start, end in spans:
                sound.seek(max(0, start - _BEFORE))
                sound.read(min(start, _BEFORE))
                samples = sound.read(end - start, dtype="float32", always_2d=True)
                if len(samples) < end - start:
                    raise BadItem(f"the sound is cut short: its header tells of {self.frames:,} samples")
                if not np.isfinite(samples).all():
                    raise BadItem("the sound holds samples that are not finite (NaN or infinite): repair it")
                yield samples.mean(1)


class AudioPreprocess(Spec):
    """From `Sound` to float32 [M, T]; `mean` and `std` are those of the training corpus, never of a sound."""

    rate: int = Field(16_000, ge=1_000, le=192_000)  # to which sounds are brought, in samples per second
    mels: int = Field(128, ge=1)
    frames: int = Field(1024, ge=1)
    mean: float = -4.268  # of a log-mel energy: AudioSet's
    std: float = Field(4.569, gt=0)


class AudioLimits(Spec):
    max_bytes: int = 2**30
    max_seconds: float = 3600
    max_channels: int = 8
    least_rate: int = 2_000
    largest_rate: int = 384_000


class AudioJson(BaseModel, extra="forbid"):
    audio: str = Field(description="the file's bytes (WAV, FLAC, Ogg or MP3), base64")


class Audio(Modality[Sound]):
    name = "audio"
    media_types = {
        ".wav": "audio/wav",
        ".flac": "audio/flac",
        ".ogg": "audio/ogg",
        ".oga": "audio/ogg",
        ".opus": "audio/ogg",
        ".mp3": "audio/mpeg",
    }
    Preprocess, Limits, Json = AudioPreprocess, AudioLimits, AudioJson

    @property
    def input_size(self) -> int:
        return int(self.preprocess.frames)

    def read(self, item: Any) -> Sound:
        """From file bytes, a path or a `Sound`: as a rule its header alone. Raises BadItem or TooLarge."""
        if isinstance(item, Sound):
            return item
        if not isinstance(item, Stored):
            raise BadItem(f"a sound is file bytes or a path, not {type(item).__name__}: samples alone have no rate")
        place = self.place(item)
        file = place if isinstance(place, bytes | Path) else place.read_bytes()
        with _opened(file) as sound:
            self._check(sound)
            return Sound(file, sound.samplerate, _length(sound))

    def prepare(self, value: Sound, *, parts: bool = False) -> list[Sample]:
        """Samples {"audio": float32 [M, T]}. Raises BadItem where the samples turn out to be damaged."""
        size = self.reach(value)
        last = max(value.frames - size, 0)
        starts = [*range(0, last, size), last] if parts else [0]
        return [
            Sample(
                {"audio": spectrum},
                part=Part(index=index, start=start, end=start + size) if len(starts) > 1 else None,
            )
            for index, (start, spectrum) in enumerate(zip(starts, self.spectra(value, starts), strict=True))
        ]

    def reach(self, value: Sound) -> int:
        """How many samples of a sound, as stored, the encoder sees at once."""
        return int(np.ceil(_window_samples(self.preprocess) * value.rate / self.preprocess.rate))

    def spectra(self, value: Sound, starts: Iterable[int]) -> Iterator[np.ndarray]:
        """What the encoder sees from each start on, float32 [M, T]. Raises BadItem."""
        spec, size = self.preprocess, self.reach(value)
        for samples in value.spans((start, min(start + size, value.frames)) for start in starts):
            yield log_mel(resampled(samples, value.rate, spec.rate), spec)

    def mark(self, value: Sound) -> str:
        """A digest of the samples: copies in other files are known, and damage shows before a training meets it."""
        total = hashlib.sha256(b"%d" % value.rate)
        starts = range(0, value.frames, _BLOCK)
        for samples in value.spans((start, min(start + _BLOCK, value.frames)) for start in starts):
            total.update(samples.tobytes())
        return total.hexdigest()

    def thumbnail(self, value: Sound, side: int = 96) -> bytes:
        """The spectrogram of its beginning, low tones at the bottom."""
        bands = Audio(AudioPreprocess()).prepare(value)[0].arrays["audio"]  # [M, T]
        frames = 1 + int((value.frames / value.rate - _WINDOW_SECONDS) / _HOP_SECONDS)
        shown = bands[::-1, : max(1, frames)]
        low, high = np.percentile(shown, (1, 99))
        grey = np.clip((shown - low) / max(float(high - low), 1e-6), 0, 1) * 255
        image, file = Pillow.fromarray(grey.astype(np.uint8)).resize((side, side)), io.BytesIO()
        image.save(file, "WEBP", quality=85)
        return file.getvalue()

    def _check(self, sound: Any) -> None:
        """Of an opened file: what its header says against the limits."""
        limits, rate = self.limits, sound.samplerate
        if sound.format not in _FORMATS:
            raise BadItem(f"the sound is of format {sound.format}; WAV, FLAC, Ogg and MP3 are read")
        if not limits.least_rate <= rate <= limits.largest_rate:
            raise BadItem(
                f"the sound has {rate:,} samples a second; {limits.least_rate:,} to {limits.largest_rate:,} are taken"
            )
        if sound.channels > limits.max_channels:
            raise TooLarge(f"the sound has {sound.channels} channels; at most {limits.max_channels}: mix them down")
        if sound.frames > limits.max_seconds * rate:
            raise TooLarge(
                f"the sound lasts {sound.frames / rate:,.0f} s; at most {limits.max_seconds:,.0f} s: "
                "cut out the part you mean"
            )


def _length(sound: Any) -> int:
    """Samples of an opened file. An MP3 may only guess, by its first frames: where it guesses wrong, it is decoded."""
    frames: int = sound.frames
    if sound.format == "MP3" and frames:
        sound.seek(frames - 1)
        if not len(sound.read(1)):
            sound.seek(0)
            frames = sum(iter(lambda: len(sound.read(_BLOCK, dtype="float32")), 0))
    if not frames:
        raise BadItem("the sound has no samples")
    return frames


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """[S] from `rate` to `wanted` samples a second; what the lower of them cannot hold is filtered away."""
    if rate == wanted:
        return samples
    found: np.ndarray = require("soxr", "audio", "resampling a sound").resample(samples, rate, wanted)
    return found


def log_mel(samples: np.ndarray, spec: AudioPreprocess) -> np.ndarray:
    """Samples [S] at `spec.rate` to log-mel energies as Kaldi's fbank has them, float32 [M, T].

    No dither, the constant part taken out of the sound and of every window, which is a Hann window; windows that do
    not fit whole are left out. Povey et al. 2011 (Kaldi). Filled up to T with 0, then (x - mean) / (2 std) as Gong et
    al. 2021 (AST), arXiv:2104.01778, have it.
    """
    window, hop = round(_WINDOW_SECONDS * spec.rate), round(_HOP_SECONDS * spec.rate)
    samples = samples.astype(np.float64)[: _window_samples(spec)]
    samples = np.pad(samples - samples.mean(), (0, max(0, window - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]  # [T, window]
    windows = windows - windows.mean(1, keepdims=True)
    before = np.concatenate([windows[:, :1], windows[:, :-1]], 1)
    shaped = (windows - _PREEMPHASIS * before) * np.hanning(window)
    size = 2 ** int(np.ceil(np.log2(window)))
    power = np.abs(np.fft.rfft(shaped, size)) ** 2  # [T, F]
    energies = np.log(np.maximum(power @ mel_filters(spec.rate, spec.mels, size), _FLOOR))
    energies = np.pad(energies, ((0, spec.frames - len(energies)), (0, 0)))
    return np.ascontiguousarray((energies.T - spec.mean) / (2 * spec.std), np.float32)


@lru_cache(8)
def mel_filters(rate: int, mels: int, size: int) -> np.ndarray:
    """Triangles evenly apart on the mel scale from 20 Hz to half the rate, float64 [F, M]."""
    edges = np.linspace(_mel(_LOWEST_HZ), _mel(rate / 2), mels + 2)
    at = _mel(np.fft.rfftfreq(size, 1 / rate))[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    found: np.ndarray = np.maximum(0, np.minimum((at - low) / (middle - low), (high - at) / (high - middle)))
    return found


def _mel(hertz: Any) -> Any:
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def _window_samples(spec: AudioPreprocess) -> int:
    """That T frames reach over, at the encoder's rate."""
    return (spec.frames - 1) * round(_HOP_SECONDS * spec.rate) + round(_WINDOW_SECONDS * spec.rate)


def _file(path: Path) -> IO[bytes]:
    """Opened when its samples are needed, by when it may be gone: raises BadItem."""
    try:
        return path.open("rb")
    except OSError as error:
        raise BadItem(f"the file cannot be read ({error.strerror})") from None


@contextmanager
def _opened(file: bytes | Path) -> Iterator[Any]:
    """The file as libsndfile sees it. Whatever that meets inside is the file's fault: raises BadItem."""
    soundfile = require("soundfile", "audio", "reading a sound")
    with io.BytesIO(file) if isinstance(file, bytes) else _file(file) as content:
        if not content.read(4).startswith(_BEGINNINGS):
            raise BadItem("these bytes are no WAV, FLAC, Ogg or MP3 sound, or their beginning is broken")
        content.seek(0)
        try:
            with soundfile.SoundFile(content) as sound:
                yield sound
        except soundfile.LibsndfileError as error:
            raise BadItem(f"the sound is damaged or cut short ({error.error_string.rstrip('.')})") from None
