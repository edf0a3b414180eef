"""Files that hold a scan, each opened by its header: a format is a file of this folder.

Knows nothing of limits or encoders: whoever opens a scan looks at what its header says before asking for voxels.
"""
# X Y Z voxels along the axes of the file

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scan:
    """What a header says, and what reads the rest."""

    shape: tuple[int, ...]  # X, Y, Z; whatever the file says
    affine: np.ndarray  # [4, 4], voxel -> millimetres to the right, front and top
    voxels: Callable[[], np.ndarray]  # of that shape; raises BadItem where they are damaged


LEFT_BACK_TOP = np.diag([-1.0, -1.0, 1.0, 1.0])  # from millimetres to the left, back and top, as DICOM counts them
