"""classify: which of the trained labels an item has, with calibrated probabilities and an out-of-distribution score.

Probabilities are softmax(logits / temperature), the temperature fitted on held-out items (Guo et al. 2017,
arXiv:1706.04599). The OOD score is the share of held-out items of the training distribution that lie nearer to their
class than this item does, by the relative Mahalanobis distance of embeddings (Ren et al. 2021, arXiv:2106.09022):
0.5 is typical, above 0.99 is unlike anything trained on.
"""
# B items, C labels, D features

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from pydantic import BaseModel, Field

from enfold.modalities import Spec
from enfold.resources import resource
from enfold.tasks import Graphs, Prepared, Task, softmax

STRONGEST = 5  # parts of an item that speak for a class


class ClassifySpec(Spec):
    labels: tuple[str, ...]
    head: str  # the graph: out_embedding [B, D] -> out_classify [B, C]
    temperature: float = Field(1.0, gt=0)
    statistics: str | None = None  # .npz for the OOD score, inside the bundle


class ClassifyOptions(BaseModel, extra="forbid"):
    top: int = Field(5, ge=1, le=1000, description="how many labels to return, most probable first")
    parts: bool = Field(False, description="judge a large item by all its windows or tiles: a slide, a long text")


class Scored(BaseModel):
    label: str
    probability: float


class ClassifyAnswer(Scored):
    top: list[Scored]
    ood: float | None = Field(
        None, description="share of held-out training-like items nearer to their class; 1 = unlike any"
    )


class Classify(Task[ClassifyAnswer]):
    name = "classify"
    Spec, Options, Answer = ClassifySpec, ClassifyOptions, ClassifyAnswer

    def parts(self, options: ClassifyOptions) -> bool:
        return options.parts

    def run(self, graphs: Graphs, prepared: Prepared, options: ClassifyOptions) -> list[ClassifyAnswer]:
        embedding = prepared.encoded["out_embedding"]
        logits = graphs(self.spec.head, {"embedding": embedding})["out_classify"]
        if options.parts:  # an item's samples lie one after the other
            ends = np.cumsum([len(samples) for samples in prepared.samples])[:-1]
            logits = np.stack([of_parts(own) for own in np.split(logits, ends)])
            embedding = np.stack([own.mean(0) for own in np.split(embedding, ends)])
        probabilities = softmax(logits / self.spec.temperature)  # [B, C]
        ood = self._ood(embedding)
        answers = []
        for row, share in zip(probabilities, ood, strict=True):
            order = np.argsort(-row, kind="stable")[: options.top]
            top = [Scored(label=self.spec.labels[i], probability=float(row[i])) for i in order]
            answers.append(ClassifyAnswer(label=top[0].label, probability=top[0].probability, top=top, ood=share))
        return answers

    def measure(self, answers: Sequence[ClassifyAnswer], truth: Sequence[str]) -> dict[str, float]:
        return quality(answers, truth)

    @cached_property
    def _statistics(self) -> dict[str, np.ndarray]:
        with resource(self.folder, self.spec.statistics) as path, np.load(path, allow_pickle=False) as file:
            return dict(file)

    def _ood(self, embedding: np.ndarray) -> list[float] | list[None]:
        if self.spec.statistics is None:
            return [None] * len(embedding)
        reference = self._statistics["distances"]  # sorted, of held-out items
        distance = relative_mahalanobis(embedding, **{k: v for k, v in self._statistics.items() if k != "distances"})
        return [float(share) for share in np.searchsorted(reference, distance) / len(reference)]


def quality(answers: Sequence[Scored], truth: Sequence[str]) -> dict[str, float]:
    """accuracy, macro_f1 over the labels present, and the expected calibration error over 15 bins."""
    predicted = np.array([answer.label for answer in answers])
    actual, right = np.array(truth), predicted == np.array(truth)
    f1 = []
    for label in np.unique(actual):
        hits = float((right & (actual == label)).sum())
        f1.append(2 * hits / ((predicted == label).sum() + (actual == label).sum()))
    return {
        "accuracy": float(right.mean()),
        "macro_f1": float(np.mean(f1)),
        "calibration_error": calibration_error(np.array([answer.probability for answer in answers]), right),
    }


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: |accuracy - confidence| over equal bins of confidence, weighted by their size."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[which == b].mean() - confidence[which == b].mean()) * (which == b).mean() for b in np.unique(which)
    ]
    return float(sum(gaps))


def of_parts(logits: np.ndarray) -> np.ndarray:
    """Logits [C] of an item from those of its parts [N, C]: of each class the mean of its five strongest parts.

    With prototypes, whose logits are distances, this is MI-SimpleShot (Chen et al. 2023, UNI, arXiv:2308.15474): the
    class is the one whose nearest tiles are nearest. Nothing is trained, and the order of parts does not matter.
    """
    strongest: np.ndarray = np.sort(logits, axis=0)[-STRONGEST:].mean(0)
    return strongest


def relative_mahalanobis(
    embedding: np.ndarray, means: np.ndarray, precision: np.ndarray, mean: np.ndarray, background: np.ndarray
) -> np.ndarray:
    """Distance to the nearest class minus the distance to the training set as a whole, [B, D] -> [B].

    means      [C, D]  class means          precision   [D, D]  inverse of the covariance within classes
    mean       [D]     mean of everything   background  [D, D]  inverse of the covariance of everything
    """
    to_class = embedding[:, None] - means  # [B, C, D]
    nearest = np.einsum("bcd,de,bce->bc", to_class, precision, to_class, optimize=True).min(1)
    to_all = embedding - mean
    return nearest - np.einsum("bd,de,be->b", to_all, background, to_all, optimize=True)
