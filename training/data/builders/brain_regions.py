"""brain_regions: one person's head in magnetic resonance, 1 mm voxels, with nine groups of regions of the brain.

Colin27 (Holmes et al. 1998), 27 scans of one head averaged, and the 116 regions of AAL (Tzourio-Mazoyer et al. 2002)
merged into nine, left and right alike. Trained on is the left half, tested on the right one: one subject, two halves.
"""

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np

from training.data.builders import Facts, Package, write
from training.data.volumes import hemispheres, write_blocks

# The first group whose words begin a region's name takes it; the vermis lies in the gap between the halves.
GROUPS = {
    "insula": ("Insula",),
    "cingulate": ("Cingulum",),
    "medial_temporal": ("Hippocampus", "ParaHippocampal", "Amygdala"),
    "occipital": ("Calcarine", "Cuneus", "Lingual", "Occipital"),
    "parietal": ("Postcentral", "Parietal", "SupraMarginal", "Angular", "Precuneus"),
    "deep_grey": ("Caudate", "Putamen", "Pallidum", "Thalamus"),
    "temporal": ("Fusiform", "Heschl", "Temporal"),
    "cerebellum": ("Cerebelum",),  # as AAL spells it
    "frontal": ("Precentral", "Frontal", "Rolandic", "Supp_Motor", "Olfactory", "Rectus", "Paracentral"),
}
NAMES = ("background", *GROUPS)
MIDDLE = 90  # voxel where x is 0 mm

FACTS = Facts(
    name="brain_regions",
    modality="volume",
    title="Brain regions: blocks of one head (Colin27, 1 mm) with nine groups of AAL regions",
    licence="BSD-3-Clause (package); read its copyright before passing the volumes on",
    packages=(
        Package(
            registry="debian",
            name="mricron-data",
            version="1.2.20211006+dfsg-4",
            file="mricron-data_1.2.20211006+dfsg-4_all.deb",
            size_bytes=16_122_652,
            sha256="d40aa0ed66cf89bf6cafa049ad3884703c9d975c2ee2737525b7196528df9d6f",
            wanted=("usr/share/mricron/templates/ch2.nii.gz", "usr/share/mricron/templates/aal.nii"),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write blocks of scan and label map, and the manifest, into `target`."""
    image, regions, affine = head(packages)
    places = hemispheres(image.shape, MIDDLE)
    write(FACTS, list(write_blocks(image, regions, affine, places, NAMES, target)), target)


def head(packages: Mapping[str, Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scan and regions [X, Y, Z], the latter as positions in NAMES, and the affine of both."""
    folder = packages["mricron-data"] / "usr/share/mricron/templates"
    scan = nibabel.load(folder / "ch2.nii.gz")
    regions = np.asanyarray(nibabel.load(folder / "aal.nii.gz").dataobj)
    merged = np.zeros(int(regions.max()) + 1, np.uint8)
    for line in filter(str.strip, (folder / "aal.nii.txt").read_text().splitlines()):
        number, name, _ = line.split()
        merged[int(number)] = next((NAMES.index(group) for group, words in GROUPS.items() if name.startswith(words)), 0)
    return np.asanyarray(scan.dataobj), merged[regions], scan.affine
