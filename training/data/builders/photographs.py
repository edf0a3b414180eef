"""photographs: 32-pixel chips of five colour photographs, as rasters of three bands: red, green and blue.

They ship inside scikit-image, so nothing is downloaded. For encoders that see colours first and other bands later.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from skimage import data

from enfold.modalities.multispectral import Raster
from training.data.builders import Facts, write
from training.data.rasters import geotiff

SIDE, STEP = 32, 16  # pixels
BANDS = ("red", "green", "blue")
SPLITS = {"astronaut": "train", "coffee": "train", "motorcycle": "train", "rocket": "test", "chelsea": "val"}

FACTS = Facts(
    name="photographs",
    modality="multispectral",
    title="Photos: 32-pixel chips of five colour photographs, red, green and blue",
    licence=(
        "astronaut, rocket: public domain; coffee, chelsea: CC0-1.0; motorcycle: of the Middlebury stereo sets, "
        "licence not stated; package: BSD-3-Clause"
    ),
    packages=(),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write items/<photo>/<row>_<column>.geotiff and the manifest into `target`."""
    rows = []
    for photo, split in SPLITS.items():
        pixels = data.stereo_motorcycle()[0] if photo == "motorcycle" else getattr(data, photo)()  # uint8 [H, W, 3]
        (target / "items" / photo).mkdir(parents=True)
        for top in range(0, pixels.shape[0] - SIDE + 1, STEP):
            for left in range(0, pixels.shape[1] - SIDE + 1, STEP):
                path = f"items/{photo}/{top:03}_{left:03}.geotiff"
                chip = pixels[top : top + SIDE, left : left + SIDE].transpose(2, 0, 1)
                (target / path).write_bytes(geotiff(Raster(np.ascontiguousarray(chip), BANDS)))
                sha256 = hashlib.sha256((target / path).read_bytes()).hexdigest()
                rows.append(
                    {
                        "id": f"{photo}/{top:03}_{left:03}",
                        "path": path,
                        "label": None,
                        "group": photo,
                        "split": split,
                        "sha256": sha256,
                    }
                )
    write(FACTS, rows, target)
