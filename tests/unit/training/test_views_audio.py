"""Views of sounds, and what a modality without views says."""

import numpy as np
import pytest

from enfold import modalities
from enfold.errors import WrongUse
from enfold.modalities.audio import Audio, AudioPreprocess
from tests.examples import sound
from training.views import audio, plain

PREPROCESS = AudioPreprocess(rate=8_000, mels=8, frames=20)
READER = Audio(PREPROCESS)


def test_a_window_comes_from_anywhere_in_a_sound():
    """A sound that swells: the louder the window, the later it begins."""
    values = np.random.default_rng(0).normal(0, 1, 32_000) * np.linspace(0.001, 0.3, 32_000)
    value = READER.read(sound(values, "FLAC", rate=16_000))
    views = [audio.random_window(value, np.random.default_rng(seed), PREPROCESS) for seed in range(40)]
    assert {view.shape for view in views} == {(8, 20)}
    loudness = [view.mean() for view in views]
    whole = [sample.arrays["audio"].mean() for sample in READER.prepare(value, parts=True)]
    assert whole[0] - 0.2 < min(loudness) < whole[1]
    assert whole[-2] < max(loudness) < whole[-1] + 0.2


def test_a_short_sound_is_its_own_view():
    value = READER.read(sound(np.random.default_rng(0).normal(0, 0.1, 1_000), "FLAC", rate=8_000))
    view = plain(READER)(value, np.random.default_rng(0))["audio"]
    np.testing.assert_array_equal(view, READER.prepare(value)[0].arrays["audio"])


def test_a_modality_without_a_plain_view_is_refused():
    for modality in ("text", "volume"):
        with pytest.raises(WrongUse, match=f"no view of {modality} items to train on labels with"):
            plain(modalities.get(modality)(None))
