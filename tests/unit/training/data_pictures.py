"""Small pictures that differ, for the tests of data sets."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int) -> Image.Image:
    """48 x 48 pixels of smooth random colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((48, 48), Image.Resampling.BICUBIC)


def paint(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)
    return path
