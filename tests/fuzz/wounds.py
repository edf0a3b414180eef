"""Damage: to bytes anywhere, and to what is meant by them, so that readers get past the header and the checksums."""

import io
import json
import zipfile
from typing import Any

import numpy as np

_HEADER = 64  # bytes that are spared mostly
_WORDS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
_VALUES: list[Any] = [0, 1, -1, 2**31, 2**63, 10**30, 0.5, -1e300, 1e-300, float("nan"), float("inf"), True, False]
_VALUES += ["", "x", "../..", "/dev/zero", "\ud800", "x" * 5000, [], [[]], {}, {"x": {}}]


def damaged(file: bytes, rng: np.random.Generator) -> bytes:
    """A damaged copy: every other time, where it is JSON or an archive, of what it holds and well-formed as such."""
    if rng.random() < 0.5:
        if file[:1] in b"{[" and (tree := _json(file)) is not None:
            return json.dumps(edited(tree, rng, [*_VALUES, None])).encode()
        if file.startswith(b"PK"):
            return _repacked(file, rng)
    return wounded(file, rng)


def wounded(file: bytes, rng: np.random.Generator) -> bytes:
    """One to four wounds: bytes changed, lengths made huge, pieces cut, doubled or shuffled."""
    data = bytearray(file)
    for _ in range(rng.integers(1, 5)):
        spared = min(_HEADER, len(data) // 2) if rng.random() < 0.8 else 0
        at = int(rng.integers(spared, max(len(data), spared + 1)))
        length = int(rng.integers(1, 33))
        match rng.integers(6):
            case 0:
                data[at : at + 1] = rng.bytes(1)
            case 1:
                order = ("little", "big")[rng.integers(2)]
                data[at : at + 4] = int(rng.choice(_WORDS)).to_bytes(4, order)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at : at + length] = rng.bytes(length)
            case 5 if rng.random() < 0.3:
                del data[at:]
    return bytes(data)


def edited(tree: Any, rng: np.random.Generator, values: list[Any] = _VALUES) -> Any:
    """One to three places of nested dicts and lists changed: replaced, left out, doubled, renamed or swapped."""
    holder = {"": json.loads(json.dumps(tree, default=str))}
    for _ in range(rng.integers(1, 4)):
        places = list(_places(holder))
        inside, key = places[rng.integers(len(places))]
        value = inside[key]
        match rng.integers(6):
            case 0 | 1:
                inside[key] = values[rng.integers(len(values))]
            case 2 if inside is not holder:
                del inside[key]
            case 3 if isinstance(inside, list):
                inside.insert(key, value)
            case 3 if isinstance(inside, dict) and inside is not holder:
                inside[f"{key}x"] = inside.pop(key)
            case 4 if isinstance(value, int | float) and not isinstance(value, bool):
                inside[key] = value * int(rng.choice([-1, 2, 1000]))
            case 4 if isinstance(value, str):
                inside[key] = wounded(value.encode("utf-8", "replace"), rng).decode(errors="replace")
            case 5:
                other, name = places[rng.integers(len(places))]
                inside[key] = json.loads(json.dumps(other[name]))
    return holder[""]


def _places(tree: Any) -> Any:
    """Every (container, key or index) below."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


def _json(file: bytes) -> Any:
    try:
        return json.loads(file)
    except ValueError:
        return None


def _repacked(file: bytes, rng: np.random.Generator) -> bytes:
    """A whole archive with one damaged member."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as archive, zipfile.ZipFile(packed, "w") as draft:
        hurt = rng.integers(len(archive.namelist()))
        for number, name in enumerate(archive.namelist()):
            content = archive.read(name)
            draft.writestr(name, damaged(content, rng) if number == hurt else content)
    return packed.getvalue()
