"""NRRD with its voxels in the same file (.nrrd), by pynrrd."""

import bz2
import io
import math
import zlib
from typing import Any

import numpy as np

from enfold.errors import BadItem, require
from enfold.scans import LEFT_BACK_TOP, Scan

MAGIC = b"NRRD"
_SPACES = {  # where the axes of the space that directions are given in run to
    "right-anterior-superior": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0, 1.0]),
    "left-posterior-superior": LEFT_BACK_TOP,
}
_SPACES |= {"".join(word[0] for word in name.split("-")).upper(): turn for name, turn in _SPACES.items()}
_PLACES = {"domain", "space", "???", "none"}  # kinds of axis along which voxels lie
_ITEM_BYTES = 8  # of the widest type


def open_scan(data: bytes) -> Scan:
    """Raises BadItem."""
    nrrd = require("nrrd", "volume", "reading an NRRD file")
    file = io.BytesIO(data)
    try:
        header = nrrd.read_header(file)
        shape = tuple(int(count) for count in header["sizes"])
        affine = _affine(header, len(shape))
    except (nrrd.NRRDError, ValueError, KeyError, TypeError, IndexError, OverflowError, StopIteration) as error:
        raise BadItem(f"the header of the NRRD file is broken or makes no sense ({error or 'it ends early'})") from None
    if {"datafile", "data file"} & set(header):
        raise BadItem("the NRRD file keeps its voxels in another file: save both in one, as .nrrd")
    if foreign := set(header.get("kinds", [])) - _PLACES:
        raise BadItem(f"the NRRD file has an axis of kind '{foreign.pop()}'; a volume has three axes in space")
    return Scan(shape, affine, lambda: _voxels(header, file.read(), math.prod(shape)))


def _affine(header: Any, axes: int) -> np.ndarray:
    """Voxel -> millimetres; without a place in space, by the spacings alone."""
    affine = np.eye(4)
    if axes != 3:
        return affine
    directions = header.get("space directions")
    if directions is None:
        affine[range(3), range(3)] = header.get("spacings", np.ones(3))
        return affine
    space = header.get("space", "")
    if space not in _SPACES:
        raise ValueError(f"space '{space}' does not tell where its axes run: save it as left-posterior-superior")
    if unknown := {unit.strip('"') for unit in header.get("space units", [])} - {"mm"}:
        raise ValueError(f"its unit is '{unknown.pop()}', not mm")
    affine[:3, :3] = np.asarray(directions, float).T
    affine[:3, 3] = header.get("space origin", np.zeros(3))
    turned: np.ndarray = _SPACES[space] @ affine
    return turned


def _voxels(header: Any, stored: bytes, count: int) -> np.ndarray:
    nrrd = require("nrrd", "volume", "reading an NRRD file")
    encoding, most = header.get("encoding"), count * _ITEM_BYTES
    try:
        # pynrrd would unpack whatever there is; here it gets no more than its header has announced.
        if encoding in ("gzip", "gz"):
            stored = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(stored, most)
        elif encoding in ("bzip2", "bz2"):
            stored = bz2.BZ2Decompressor().decompress(stored, most)
        plain = encoding if encoding in ("ascii", "ASCII", "text", "txt") else "raw"
        found: np.ndarray = nrrd.read_data({**header, "encoding": plain}, io.BytesIO(stored))
    except (nrrd.NRRDError, ValueError, KeyError, TypeError, OSError, EOFError, zlib.error, OverflowError) as error:
        raise BadItem(f"the NRRD file is damaged or cut short ({error})") from None
    return found
