"""Images find their text and texts their image, among all of the test split; every equal caption is a hit."""
# N items, U distinct texts, D features

import numpy as np

from enfold.model import unit
from training.evaluation import Subject

NEEDS_LABELS = False


def evaluate(subject: Subject) -> dict[str, float]:
    texts, own = distinct(subject.captions("test"))
    images, embedded = subject.features("test"), subject.text_features(texts)
    there, back = recall(images, embedded, own), recall_back(images, embedded, own)
    return {"image_to_text_r1": there, "text_to_image_r1": back, "r1": (there + back) / 2, "texts": len(texts)}


def distinct(captions: list[str]) -> tuple[list[str], np.ndarray]:
    """The texts that there are [U], and which of them each caption is [N]."""
    texts, own = np.unique(captions, return_inverse=True)
    return texts.tolist(), own


def recall(images: np.ndarray, texts: np.ndarray, own: np.ndarray) -> float:
    """Share of images [N, D] whose nearest text of [U, D] is their own."""
    return float(((unit(images) @ unit(texts).T).argmax(1) == own).mean())


def recall_back(images: np.ndarray, texts: np.ndarray, own: np.ndarray) -> float:
    """Share of texts [U, D] whose nearest image of [N, D] is one of their own."""
    nearest = (unit(texts) @ unit(images).T).argmax(1)
    return float((own[nearest] == np.arange(len(texts))).mean())
