"""Views of one sound: a window from anywhere in it."""
# M mel bands, T frames

import numpy as np

from enfold.modalities import Arrays
from enfold.modalities.audio import Audio, AudioPreprocess, Sound


def random_window(sound: Sound, rng: np.random.Generator, preprocess: AudioPreprocess) -> np.ndarray:
    """What the encoder sees from a random sample on, float32 [M, T]; a shorter sound as a whole."""
    audio = Audio(preprocess)
    start = int(rng.integers(max(sound.frames - audio.reach(sound), 0) + 1))
    return next(audio.spectra(sound, [start]))


def plain(sound: Sound, rng: np.random.Generator, reader: Audio) -> Arrays:
    return {"audio": random_window(sound, rng, reader.preprocess)}
