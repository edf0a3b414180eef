"""nearest: the label whose labelled items lie nearest, on average, to an item: a classifier of a few examples each.

Class means of vectors that are centred and brought to length 1 (SimpleShot; Wang et al. 2019, arXiv:1911.04623).
Nothing is trained, so it is made in a moment from points of a collection; what it is worth is measured by leaving each
point out of its own class mean.
"""
# N points, C labels, D dimensions

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from pydantic import BaseModel, Field

from enfold.errors import WrongUse
from enfold.modalities import Spec
from enfold.resources import resource
from enfold.tasks import Graphs, Prepared, Task, softmax
from enfold.tasks.classify import Classify, ClassifyAnswer, Scored

TEMPERATURES = np.geomspace(0.01, 1, 41)  # of cosines, from near certainty to near indifference


class NearestSpec(Spec):
    labels: tuple[str, ...]
    prototypes: str  # .npz inside the bundle: mean [D], prototypes [C, D]
    size: str | None = None  # of the bundle's, whose vectors the points were
    temperature: float = Field(gt=0)


class NearestOptions(BaseModel, extra="forbid"):
    top: int = Field(5, ge=1, le=1000, description="how many labels to return, nearest first")


class Nearest(Task[ClassifyAnswer]):
    name = "nearest"
    Spec, Options, Answer = NearestSpec, NearestOptions, ClassifyAnswer

    def run(self, graphs: Graphs, prepared: Prepared, options: NearestOptions) -> list[ClassifyAnswer]:
        if self.size != self.spec.size:
            raise WrongUse(f"task 'nearest' was made from vectors of size '{self.spec.size}': ask with that size")
        means = self._means
        cosine = directions(prepared.encoded["out_embedding"], means["mean"]) @ means["prototypes"].T
        answers = []
        for row in softmax(cosine / self.spec.temperature):
            order = np.argsort(-row, kind="stable")[: options.top]
            top = [Scored(label=self.spec.labels[i], probability=float(row[i])) for i in order]
            answers.append(ClassifyAnswer(label=top[0].label, probability=top[0].probability, top=top))
        return answers

    measure = Classify.measure

    @cached_property
    def _means(self) -> dict[str, np.ndarray]:
        with resource(self.folder, self.spec.prototypes) as path, np.load(path, allow_pickle=False) as file:
            return dict(file)


def directions(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """[N, D], each of length 1, less the mean [D] of such, and of length 1 again."""
    return _unit(_unit(vectors) - mean)


def fit(vectors: np.ndarray, labels: Sequence[str]) -> tuple[dict[str, np.ndarray], tuple[str, ...], float, float]:
    """Class means of labelled vectors [N, D], every label two or more times.

    Returns {mean, prototypes}, the labels in the prototypes' order, the temperature at which the leave-one-out
    probabilities are likeliest, and the leave-one-out accuracy.
    """
    names, member = np.unique(np.array(labels), return_inverse=True)
    mean = _unit(vectors).mean(0)
    points = directions(vectors, mean)
    sums, counts = np.zeros((len(names), points.shape[1])), np.bincount(member)
    np.add.at(sums, member, points)
    cosine = points @ _unit(sums).T  # [N, C]
    own = _unit(sums[member] - points)  # of the class without the point itself
    cosine[np.arange(len(points)), member] = (points * own).sum(1)
    likelihood = [
        np.log(softmax(cosine / temperature)[np.arange(len(points)), member] + 1e-12).mean()
        for temperature in TEMPERATURES
    ]
    accuracy = float((cosine.argmax(1) == member).mean())
    means = {"mean": mean.astype(np.float32), "prototypes": _unit(sums / counts[:, None]).astype(np.float32)}
    return means, tuple(map(str, names)), float(TEMPERATURES[int(np.argmax(likelihood))]), accuracy


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
