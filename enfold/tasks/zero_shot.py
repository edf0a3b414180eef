"""zero_shot: which of the sentences that come with the request an item fits best. Nothing was trained for them.

Sentences go through the text entry of the item's space, and the angles between them and the item say which it is
(Radford et al. 2021, CLIP, arXiv:2103.00020). Of one sentence the cosine alone says something: how well a caption fits.
"""
# B items, L labels, D features

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, StringConstraints, field_validator

from enfold.bundle import Entry
from enfold.modalities import Spec
from enfold.tasks import Graphs, Prepared, Task, softmax
from enfold.tasks.classify import Scored, quality

MOST_LABELS = 1000
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class ZeroShotSpec(Spec):
    entry: str  # that encodes the labels


class ZeroShotOptions(BaseModel, extra="forbid"):
    labels: list[Label] = Field(
        min_length=1,
        max_length=MOST_LABELS,
        description="sentences, each different, that say what an item may be: a photo of a cat",
    )
    temperature: float = Field(
        0.07, gt=0, description="of the probabilities: less is surer; the order is that of cosines at any"
    )
    top: int = Field(5, ge=1, le=MOST_LABELS, description="how many labels to return, best first")

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: list[str]) -> list[str]:
        seen: set[str] = set()
        for label in labels:
            if label in seen:
                raise ValueError(f"'{label[:60]}' stands there twice: name each label once")
            seen.add(label)
        return labels


class Fit(Scored):
    cosine: float


class ZeroShotAnswer(Scored):
    top: list[Fit]


class ZeroShot(Task[ZeroShotAnswer]):
    name = "zero_shot"
    Spec, Options, Answer = ZeroShotSpec, ZeroShotOptions, ZeroShotAnswer
    trial = {"labels": ["a red heart", "something else"]}

    def __init__(self, spec: ZeroShotSpec, folder: Path, size: str | None = None):
        super().__init__(spec, folder, size)
        self.entry = spec.entry

    @classmethod
    def implied(cls, entries: Mapping[str, Entry]) -> dict[str, Any] | None:
        """By any entry that takes texts."""
        return next(({"entry": name} for name, entry in entries.items() if entry.modality == "text"), None)

    def beside(self, options: ZeroShotOptions) -> list[str]:
        return options.labels

    def run(self, graphs: Graphs, prepared: Prepared, options: ZeroShotOptions) -> list[ZeroShotAnswer]:
        items, labels = (_unit(found["out_embedding"]) for found in (prepared.encoded, prepared.beside))
        cosines = items @ labels.T  # [B, L]
        answers = []
        for row, probabilities in zip(cosines, softmax(cosines / options.temperature), strict=True):
            order = np.argsort(-row, kind="stable")[: options.top]
            top = [
                Fit(label=options.labels[i], probability=float(probabilities[i]), cosine=float(row[i])) for i in order
            ]
            answers.append(ZeroShotAnswer(label=top[0].label, probability=top[0].probability, top=top))
        return answers

    def measure(self, answers: Sequence[ZeroShotAnswer], truth: Sequence[str]) -> dict[str, float]:
        return quality(answers, truth)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
