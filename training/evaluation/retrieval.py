"""Whether the nearest items are the right ones: of the same class, and from the same place of the same slide.

Chen et al. 2023 (UNI), arXiv:2308.15474: `at_k` is the share of test items that find their class among the k nearest
training items, `majority_at_5` the share whose five nearest agree on it. Where items say where on which slide they were
cut (slide, x, y, side), `nearby` is the share of a test tile's five nearest others, of those that it shares no pixel
with, that lie within two tiles of it; `nearby_chance` is what chance makes of it. Vectors are less the training mean.
"""
# N training items, M test items

from collections import Counter

import numpy as np

from enfold.model import unit
from training.data.dataset import Dataset
from training.evaluation import Subject

NEEDS_LABELS = True
DEPTHS, FIRST = (1, 3, 5), 5
TILES = 2  # apart at most, between centres, along each axis
PLACE = ("slide", "x", "y", "side")


def evaluate(subject: Subject) -> dict[str, float]:
    train, test = unit(subject.centred("train")), unit(subject.centred("test"))
    found = subject.labels("train")[(-test @ train.T).argsort(1, kind="stable")[:, :FIRST]]  # [M, 5]
    figures = by_class(found, subject.labels("test"))
    if all(set(PLACE) <= record.payload.keys() for record in subject.data("test").records):
        figures |= by_place(test @ test.T, places(subject.data("test")))
    return figures


def by_class(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """found   [M, 5]  labels of the nearest, nearest first; a tie goes to the nearer"""
    hit = found == truth[:, None]
    majority = np.array([Counter(row.tolist()).most_common(1)[0][0] for row in found])
    at = {f"at_{depth}": float(hit[:, :depth].any(1).mean()) for depth in DEPTHS}
    return at | {"majority_at_5": float((majority == truth).mean())}


def places(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Number of the slide [M], and left and top in tiles [M, 2]."""
    slide, x, y, side = zip(*([record.payload[name] for name in PLACE] for record in data.records), strict=True)
    return np.unique(slide, return_inverse=True)[1], np.stack([x, y], 1) / np.array(side)[:, None]


def by_place(scores: np.ndarray, where: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """scores   [M, M]  of test items among themselves"""
    slide, corner = where
    apart = np.abs(corner[:, None] - corner).max(2)  # [M, M], in tiles
    same = slide[:, None] == slide
    allowed = ~(same & (apart < 1))  # a tile that shows the same pixels is no find
    near = same & allowed & (apart <= TILES)
    nearest = np.where(allowed, -scores, np.inf).argsort(1, kind="stable")[:, :FIRST]  # [M, 5]
    return {
        "nearby": float(np.take_along_axis(near, nearest, 1).mean()),
        "nearby_chance": float((near.sum(1) / allowed.sum(1)).mean()),
    }
