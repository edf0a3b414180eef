"""Images find their text and texts their image, among all of the test split; every equal caption is a hit.

`image_to_text_r5` is the share of images that have their text among their five nearest; `r5` the mean of both ways.
"""
# N items, U distinct texts, D features, k neighbours

import numpy as np

from enfold.model import unit
from training.evaluation import Subject

NEEDS_LABELS = False
DEPTHS = (1, 5, 10)


def evaluate(subject: Subject) -> dict[str, float]:
    texts, right = distinct(subject.captions("test"))
    images, embedded = subject.features("test"), subject.text_features(texts)
    figures: dict[str, float] = {"texts": len(texts)}
    for k in DEPTHS:
        there, back = recall(images, embedded, right, k), recall(embedded, images, right.T, k)
        figures |= {f"image_to_text_r{k}": there, f"text_to_image_r{k}": back, f"r{k}": (there + back) / 2}
    return figures


def distinct(captions: list[str]) -> tuple[list[str], np.ndarray]:
    """The texts that there are [U], and which of them belongs to each caption's image: bool [N, U]."""
    texts, own = np.unique(captions, return_inverse=True)
    return texts.tolist(), own[:, None] == np.arange(len(texts))


def recall(queries: np.ndarray, among: np.ndarray, right: np.ndarray, k: int) -> float:
    """Share of queries [N, D] that have something right among their k nearest of [M, D] by cosine; right [N, M]."""
    nearest = np.argsort(-(unit(queries) @ unit(among).T), axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(right, nearest, 1).any(1).mean())
