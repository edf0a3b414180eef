"""NIfTI (.nii, .nii.gz), by nibabel."""

import gzip
import io
import zlib
from typing import Any

import numpy as np

from enfold.errors import BadItem, require
from enfold.scans import Scan

_HEADER_BYTES = 2**20  # that may lie between the start of the file and its voxels


def open_scan(data: bytes) -> Scan:
    """Raises BadItem."""
    nibabel = require("nibabel", "volume", "reading a NIfTI file")
    stream: Any = gzip.GzipFile(fileobj=io.BytesIO(data)) if data.startswith(b"\x1f\x8b") else io.BytesIO(data)
    try:
        kind = nibabel.Nifti2Image if b"n+2" in stream.read(8) else nibabel.Nifti1Image
        stream.seek(0)
        image = kind.from_stream(stream)
    except (nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError, OSError, EOFError):
        raise BadItem("these bytes are no NIfTI, NRRD, DICOM or .npy volume, or its header is broken") from None
    except (ValueError, zlib.error, OverflowError, TypeError) as error:
        raise BadItem(f"the header of the NIfTI file makes no sense ({error})") from None
    if image.dataobj.offset > _HEADER_BYTES:
        raise BadItem("the NIfTI file says that its voxels begin after a megabyte of header: it is damaged")
    shape = tuple(count for at, count in enumerate(image.shape) if at < 3 or count != 1)
    return Scan(shape, image.affine, lambda: _voxels(image).reshape(shape))


def _voxels(image: Any) -> np.ndarray:
    try:
        return np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BadItem(f"the volume is damaged or cut short ({error})") from None
