"""Groups of near-duplicates, and splits that no group straddles.

Two pictures are near-duplicates when they look the same at 8 x 8 pixels, as they are or one mirrored; two texts when
they have the same words in the same order, whatever their case and spacing. A crop or a recoloured copy is not found:
sources that hold such copies name their groups. Knows nothing of files.
"""
# N items, F features of a look

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Root mean square difference of two looks, in grey levels of 255, up to which they are the same picture. Measured on
# 3,708 emoji: copies at JPEG quality 40 or two thirds the size differ by 0.06 of the picture's own contrast in the
# median and by 0.17 at the 99th percentile; 99.4 % or more of them are found. Of the pairs of scikit-learn's 1,797
# hand-written digits, one in 100,000 comes under 0.2.
OF_CONTRAST, LEAST, MOST = 0.2, 2.0, 12.0
BLOCK = 512  # rows compared at a time: 20,000 items take 3 s on one core, and 1.1 GB if all look the same


def near_duplicates(marks: Sequence[Any], given: Sequence[str]) -> list[str]:
    """The group of each item: one name for all that `given` or their marks hold together.

    marks     [N]  looks, or digests (`Modality.mark`)
    given     [N]  groups that the source names; an item's id where it names none
    returns   [N]  the first of the group's given names in sorted order
    """
    if not marks:
        return []
    same = alike(np.stack(marks)) if isinstance(marks[0], np.ndarray) else _first(marks)
    together = _connected(np.arange(len(given)), same, _first(given))
    names: dict[int, str] = {}
    for group, name in zip(together, given, strict=True):
        names[group] = min(names.get(group, name), name)
    return [names[group] for group in together]


def alike(looks: np.ndarray) -> np.ndarray:
    """For each look the index of the first one that it is joined to by a chain of near-duplicates.

    looks     uint8 [N, 8, 8, 3]
    returns   int64 [N]
    """
    plain = looks.reshape(len(looks), -1).astype(np.float32)  # [N, F]
    mirrored = looks[:, :, ::-1].reshape(len(looks), -1).astype(np.float32)
    length = (plain**2).sum(1)
    nearness = np.clip(OF_CONTRAST * plain.std(1), LEAST, MOST) ** 2 * plain.shape[1]
    joined = np.arange(len(looks))
    for start in range(0, len(looks), BLOCK):
        rows = slice(start, start + BLOCK)
        product = np.maximum(plain[rows] @ plain[start:].T, plain[rows] @ mirrored[start:].T)
        distance = length[rows, None] + length[None, start:] - 2 * product  # squared
        row, column = np.nonzero(distance <= np.minimum(nearness[rows, None], nearness[None, start:]))
        links = np.concatenate([np.arange(len(looks)), row + start])
        joined = _connected(links, np.concatenate([joined, column + start]), nodes=len(looks))
    return joined


def assign_splits(
    groups: Sequence[str], labels: Sequence[str | None], *, train: float = 0.7, test: float = 0.2
) -> list[str]:
    """A split for each item: about these shares of each label, the rest val, whole groups only.

    Groups queue up by the hash of their name, so the answer depends on neither the order of items nor a seed, and an
    item more moves only groups at a border. A label with few groups goes to train first, then to test.
    """
    size = Counter(groups)
    label_of: dict[str, str] = {}
    for group, label in zip(groups, labels, strict=True):
        label_of[group] = max(label_of.get(group, ""), label or "")
    queues: dict[str, list[str]] = defaultdict(list)
    for group in sorted(size, key=lambda name: hashlib.sha256(name.encode()).digest()):
        queues[label_of[group]].append(group)
    split = {}
    for queue in queues.values():
        total, before = sum(size[group] for group in queue), 0
        for group in queue:
            middle = (before + size[group] / 2) / total
            split[group] = "train" if middle < train else "test" if middle < train + test else "val"
            before += size[group]
    return [split[group] for group in groups]


def _first(keys: Sequence[Hashable]) -> np.ndarray:
    """For each key the index at which it first stands."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, i) for i, key in enumerate(keys)])


def _connected(here: np.ndarray, *there: np.ndarray, nodes: int | None = None) -> np.ndarray:
    """For each node the first one it is linked to, where here[k] is linked to there[…][k]."""
    size = nodes or len(here)
    ends = np.tile(here, len(there)), np.concatenate(there)
    graph = coo_array((np.ones(len(ends[0]), bool), ends), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    return np.unique(component, return_index=True)[1][component]
