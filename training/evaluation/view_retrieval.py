"""A molecule's bonds find the same molecule's places, and places their bonds, among 256 of the test split.

Molecules that share their sum formula come first, so that counting atoms is not enough. `r1` is the share that finds
its own first, from bonds to places; `back_r1` the other way; `isomers` the share of molecules that have a rival of the
same formula, `chance` what guessing finds.
"""
# N molecules, D features

from collections import Counter

import numpy as np

from training.evaluation import Subject
from training.evaluation.caption_retrieval import recall
from training.probes import features

NEEDS_LABELS = False
AMONG = 256


def evaluate(subject: Subject) -> dict[str, float]:
    assert subject.encoder is not None
    data, reader = subject.data("test"), subject.modality
    formulas = [str(record.payload.get("formula", "")) for record in data.records]
    chosen = data.subset(rivals(formulas)[:AMONG])
    flat, placed = (
        features(subject.encoder, chosen.inputs(type(reader)(reader.preprocess.model_copy(update={"views": views}))))
        for views in ("2d", "3d")
    )
    own, counts = (
        np.eye(len(chosen), dtype=bool),
        Counter(str(one.payload.get("formula", "")) for one in chosen.records),
    )
    return {
        "r1": recall(flat, placed, own, 1),
        "r5": recall(flat, placed, own, 5),
        "back_r1": recall(placed, flat, own, 1),
        "isomers": sum(count for count in counts.values() if count > 1) / len(chosen),
        "chance": 1 / len(chosen),
    }


def rivals(formulas: list[str]) -> np.ndarray:
    """The order [N] in which items are taken: the most shared formula first, each together, then by their place."""
    counts = Counter(formulas)
    return np.array(sorted(range(len(formulas)), key=lambda i: (-counts[formulas[i]], formulas[i], i)))
