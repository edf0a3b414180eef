"""A bare array (.npy), whose voxels count as 1 mm cubes."""

import io

import numpy as np

from enfold.errors import BadItem
from enfold.scans import Scan

MAGIC = b"\x93NUMPY"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_scan(data: bytes) -> Scan:
    """Raises BadItem."""
    file = io.BytesIO(data)
    try:
        shape, _, kind = _HEADERS[np.lib.format.read_magic(file)](file)
    except (ValueError, KeyError, EOFError, TypeError) as error:
        raise BadItem(f"the .npy file is damaged or cut short ({error})") from None
    if kind.hasobject:
        raise BadItem("the .npy file holds Python objects, which are never read: save plain numbers")
    return Scan(shape, np.eye(4), lambda: _voxels(data))


def _voxels(data: bytes) -> np.ndarray:
    try:
        found: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, TypeError) as error:
        raise BadItem(f"the .npy file is damaged or cut short ({error})") from None
    return found
