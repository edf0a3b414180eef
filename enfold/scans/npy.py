"""A bare array (.npy), whose voxels count as 1 mm cubes."""

import io
from tokenize import TokenError

import numpy as np

from enfold.errors import BadItem
from enfold.scans import Scan

MAGIC = b"\x93NUMPY"
# What numpy raises for headers that are no Python literal, and for numbers in them that no machine has room for.
_DAMAGED = (ValueError, KeyError, EOFError, TypeError, SyntaxError, TokenError, OverflowError, MemoryError)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_scan(data: bytes) -> Scan:
    """Raises BadItem."""
    file = io.BytesIO(data)
    try:
        shape, _, kind = _HEADERS[np.lib.format.read_magic(file)](file)
    except _DAMAGED as error:
        raise BadItem(f"the .npy file is damaged or cut short ({error})") from None
    if kind.hasobject:
        raise BadItem("the .npy file holds Python objects, which are never read: save plain numbers")
    return Scan(shape, np.eye(4), lambda: _voxels(data))


def _voxels(data: bytes) -> np.ndarray:
    try:
        found: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    except _DAMAGED as error:
        raise BadItem(f"the .npy file is damaged or cut short ({error})") from None
    return found
