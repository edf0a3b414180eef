"""The identity of an embedding space: two vectors may meet only if their spaces are the same.

The digest covers what changes a vector (weights, preprocessing, pooling, normalisation, dimensions) and nothing that
does not (the bytes of an ONNX file, the exporter's version): exporting again gives the same space, one changed weight
another.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from enfold.errors import SpaceMismatch


def space_id(
    weights: Mapping[str, np.ndarray], *, preprocess: Mapping[str, Any], pooling: str, normalize: bool, dimensions: int
) -> str:
    """Digest of one space: 'sp_' and 24 hexadecimal digits.

    weights      name -> tensor, in any order
    preprocess   what turns a raw item into arrays, as JSON values
    """
    digest = hashlib.sha256()
    facts = {"preprocess": preprocess, "pooling": pooling, "normalize": normalize, "dimensions": dimensions}
    digest.update(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(weights):
        tensor = np.asarray(weights[name])
        digest.update(f"\0{name}\0{tensor.dtype.str}\0{tensor.shape}\0".encode())
        digest.update(tensor.tobytes())
    return "sp_" + digest.hexdigest()[:24]


def same_space(have: str, want: str, *, what: str, where: str) -> None:
    """Refuse to let vectors of one space meet vectors of another."""
    if have != want:
        raise SpaceMismatch(
            f"{where} holds vectors of space {want}, {what} is of space {have}. Use the model that filled it, "
            "or give these vectors a collection of their own: enfold embed SOURCE --model NAME --to index://NEW"
        )
