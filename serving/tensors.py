"""Tensors of the inference protocol: raw items, or inputs of an encode graph that somebody else prepared.

Nothing here trusts what a tensor says of itself: datatype, shape and length must agree with its data, and those with
what the graph takes, before a runtime sees them.
"""

import math
import struct
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from enfold import modalities
from enfold.bundle import Bundle
from enfold.errors import BadItem, EnfoldError, WrongUse
from enfold.golden import golden_of
from enfold.modalities import Sample
from enfold.model import Model

BYTES = "BYTES"  # elements of any length: raw items
MOST_AXES = 8
DTYPES = {
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

Inputs = dict[str, np.ndarray | list[Any]]  # prepared arrays, or raw items


class TensorFacts(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1: any")


def of_bytes(name: str, datatype: str, shape: list[int], data: memoryview) -> np.ndarray | list[bytes]:
    """A tensor's binary data; of BYTES each element after its length in four bytes. Raises BadItem."""
    if datatype == BYTES:
        return _elements(name, _items(name, shape), data)
    dtype = _dtype(name, datatype)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise BadItem(f"input '{name}' of {datatype} {shape} has {len(data):,} bytes of data; it must fill its shape")
    return np.frombuffer(data, dtype).reshape(shape)


def of_values(name: str, datatype: str, shape: list[int], data: list[Any]) -> np.ndarray | list[Any]:
    """A tensor's data as numbers, or as raw items: bytes, a text, base64 of other modalities. Raises BadItem."""
    if datatype == BYTES:
        items = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in data]
        if len(items) != _items(name, shape) or not all(isinstance(item, str | bytes) for item in items):
            raise BadItem(f"input '{name}' of {BYTES} {shape} has other data than {shape[0]} strings")
        json = modalities.get(name).Json if name in modalities.names() else None
        return [json(**{name: item}) if json and isinstance(item, str) else item for item in items]
    dtype = _dtype(name, datatype)
    given = np.asarray(data, object).ravel()  # as they are: one long text among numbers would make all as long
    if not set(map(type, given)) <= ({int, float} if dtype.kind == "f" else {int}):
        raise BadItem(f"input '{name}' is {datatype}; its data are no such numbers in rows of one length")
    if len(given) != math.prod(shape):
        raise BadItem(f"input '{name}' of shape {shape} has {len(given):,} values; it must fill its shape")
    try:
        with np.errstate(over="ignore"):  # what is infinite then is refused with the samples
            return given.astype(dtype).reshape(shape)
    except OverflowError:
        raise BadItem(f"input '{name}' is {datatype}; its data hold numbers beyond that") from None


def prepared(model: Model, inputs: Inputs) -> tuple[str, list[Sample]]:
    """The entry whose encode graph takes these inputs, and a sample of each row. Raises BadItem or WrongUse."""
    fitting = [entry for entry in model.modalities if {facts.name for facts in taken(model, entry)} == set(inputs)]
    if not fitting:
        raise unknown(model, inputs)
    if len(fitting) > 1:
        doors = " or ".join(fitting)
        raise WrongUse(f"entries {doors} of {model.bundle.ref} take such inputs: send raw items, in a tensor {doors}")
    [entry] = fitting
    arrays = {facts.name: _fitting(facts, inputs[facts.name]) for facts in taken(model, entry)}
    if len({len(values) for values in arrays.values()}) > 1:
        raise BadItem("the inputs have different numbers of rows: each row is one item")
    return entry, model.modalities[entry].prepared(arrays)


def raw(model: Model) -> dict[str, str]:
    """The names of tensors of raw items and the entries that take them: a modality, or one of its several entries."""
    entries = model.bundle.manifest.entries
    kinds = Counter(entry.modality for entry in entries.values())
    return {entry.modality if kinds[entry.modality] == 1 else name: name for name, entry in entries.items()}


def taken(model: Model, entry: str) -> list[TensorFacts]:
    """What the encode graph of an entry takes."""
    return _taken(model.bundle, model.variant, model.size, entry, model.modalities[entry].ragged)


def unknown(model: Model, inputs: Inputs) -> EnfoldError:
    """What a model says to inputs that it does not know."""
    known = [f"{name} ({BYTES})" for name in raw(model)]
    known += [", ".join(facts.name for facts in taken(model, entry)) for entry in model.modalities]
    return WrongUse(f"{model.bundle.ref} takes {' or '.join(known)}, not {', '.join(inputs)[:200]}")


def _fitting(facts: TensorFacts, values: np.ndarray | list[Any]) -> np.ndarray:
    if isinstance(values, list):
        raise BadItem(f"input '{facts.name}' is {facts.datatype} {facts.shape}, not {BYTES}")
    fits = len(values.shape) == len(facts.shape) and all(
        want in (-1, have) for want, have in zip(facts.shape, values.shape, strict=True)
    )
    if _NAMES[values.dtype] != facts.datatype or not fits:
        given = f"{_NAMES[values.dtype]} {list(values.shape)}"
        raise BadItem(f"input '{facts.name}' is {facts.datatype} {facts.shape}, not {given}")
    return values


def _items(name: str, shape: list[int]) -> int:
    if shape[1:] not in ([], [1]):
        raise BadItem(f"input '{name}' of {BYTES} has shape {shape}; raw items come as [N] or [N, 1]")
    return shape[0]


def _elements(name: str, count: int, data: memoryview) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    for _ in range(count):
        size = struct.unpack_from("<I", data, at)[0] if at + 4 <= len(data) else len(data)
        at += 4 + size
        if at > len(data):
            raise BadItem(f"input '{name}' ends in the middle of item {len(found)} of {count}")
        found.append(bytes(data[at - size : at]))
    if at != len(data):
        raise BadItem(f"input '{name}' has {len(data) - at:,} bytes after its {count} items")
    return found


def _dtype(name: str, datatype: str) -> np.dtype[Any]:
    if datatype not in DTYPES:
        raise BadItem(f"input '{name}' has datatype '{datatype[:20]}'; known: {BYTES}, {', '.join(DTYPES)}")
    return DTYPES[datatype]


@lru_cache(maxsize=256)
def _taken(bundle: Bundle, variant: str, size: str | None, entry: str, ragged: bool) -> list[TensorFacts]:
    """As its golden inputs show it: runtimes know names alone."""
    golden = dict(zip(bundle.manifest.entries, golden_of(bundle, variant, size), strict=True))
    return [
        TensorFacts(
            name=name,
            datatype=_NAMES[values.dtype],
            shape=[-1, *(-1 if ragged and axis == 0 else width for axis, width in enumerate(values.shape[1:]))],
        )
        for name, values in golden[entry].inputs.items()
    ]
