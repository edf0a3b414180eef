"""uci_digits: 1,797 handwritten digits of the UCI repository, 8 x 8 grey pixels drawn at 32 x 32.

Alpaydin and Kaynak 1998. They ship inside scikit-learn, so nothing is downloaded. Other hands than MNIST's.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from training.data.builders import Facts, write

SIDE = 32

FACTS = Facts(
    name="uci_digits",
    modality="image",
    title="UCI handwritten digits: 1,797, 8 x 8 pixels drawn at 32 x 32",
    licence="CC-BY-4.0; package: BSD-3-Clause",
    packages=(),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write items/<number>.png and the manifest into `target`."""
    digits = load_digits()
    (target / "items").mkdir()
    rows = []
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = f"items/{number:04}.png"
        drawn = Image.fromarray(np.round(image / 16 * 255).astype(np.uint8))
        drawn.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(target / path)
        sha256 = hashlib.sha256((target / path).read_bytes()).hexdigest()
        rows.append({"id": f"{number:04}", "path": path, "label": str(digit), "group": sha256, "sha256": sha256})
    write(FACTS, rows, target)
