"""brain_tissue: the average head of 152 people in magnetic resonance, 1 mm voxels, with its grey and white matter.

MNI ICBM 2009a (Fonov et al. 2011). A voxel is of the tissue whose probability is above one half.
"""

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np

from training.data.builders import Facts, Package, write
from training.data.volumes import hemispheres, write_blocks

NAMES = ("background", "grey_matter", "white_matter")
_FILES = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"

FACTS = Facts(
    name="brain_tissue",
    modality="volume",
    title="Brain tissue: blocks of an average head (MNI152, 1 mm) with grey and white matter",
    licence="MNI ICBM 2009a: free use with its copyright notice; package: BSD-3-Clause",
    packages=(
        Package(
            registry="pypi",
            name="nilearn",
            version="0.14.1",
            file="nilearn-0.14.1-py3-none-any.whl",
            size_bytes=11_509_444,
            sha256="725206484e9fb3f6691f9c2d20204a068759d5072f12055324702ee0cb2bbe8a",
            wanted=("nilearn/datasets/data/mni_icbm152_",),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write blocks of scan and label map, and the manifest, into `target`."""
    scan, grey, white = (nibabel.load(packages["nilearn"] / _FILES.format(kind)) for kind in ("t1", "gm", "wm"))
    image = np.asanyarray(scan.dataobj)
    shares = [np.asarray(tissue.dataobj, np.float32) for tissue in (grey, white)]
    labels = sum(number * (share > 0.5 * share.max()) for number, share in enumerate(shares, 1))
    middle = round(float(np.linalg.solve(scan.affine, [0, 0, 0, 1])[0]))
    rows = write_blocks(image, np.asarray(labels), scan.affine, hemispheres(image.shape, middle), NAMES, target)
    write(FACTS, list(rows), target)
