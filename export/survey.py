"""Thousands of held-out items through every variant: do neighbours and answers stay what they are?"""
# N items, D features

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from enfold.modalities import Sample
from enfold.model import Model, unit
from enfold.rankme import rankme
from enfold.tasks import Prepared
from export.draft import Draft
from export.limits import AGREEMENT, ITEMS, NEIGHBOURS, RANK, RECALL, SPREAD, TASK_POINTS, TIE
from export.report import Check, at_least, at_most

_CHUNK = 256


@dataclass
class Seen:
    """What one variant made of the items, in one order for all variants."""

    vectors: list[np.ndarray] = field(default_factory=list)  # rows of unit length
    top: dict[str, list[np.ndarray]] = field(default_factory=dict)  # task -> most probable label
    answers: dict[str, list[Any]] = field(default_factory=dict)
    seconds: float = 0.0

    def matrix(self) -> np.ndarray:
        """[N, D]"""
        return np.concatenate(self.vectors)


class Survey:
    """Distinct held-out items, at most ITEMS, seen through every variant."""

    def __init__(self, draft: Draft, models: Mapping[str, Model]):
        self._draft, self._models = draft, models
        self.seen = {variant: Seen() for variant in models}
        self._truth: list[str] = []
        self.count = 0
        self._look()

    def items_per_second(self) -> dict[str, float]:
        return {variant: round(self.count / seen.seconds, 1) for variant, seen in self.seen.items()}

    def spread(self) -> list[Check]:
        """A collapsed encoder gives everything nearly the same vector, or lets them differ along one line only."""
        vectors = self.seen["fp32"].matrix().astype(np.float64)
        centred = vectors - vectors.mean(0)
        away = float(np.sqrt((centred**2).sum(1).mean()))
        rank = rankme(centred) if np.isfinite(centred).all() else float("nan")
        return [
            at_least(SPREAD, "spread of the vectors", "fp32", away, len(vectors)),
            at_least(RANK, "effective rank of the vectors", "fp32", rank, len(vectors)),
        ]

    def against_fp32(self, variant: str) -> list[Check]:
        have, want = self.seen[variant], self.seen["fp32"]
        recall = recall_at_10(have.matrix(), want.matrix())
        checks = [at_least(RECALL, f"recall@{NEIGHBOURS} of fp32's neighbours", variant, recall, self.count)]
        for task in self._draft.heads:
            same = np.concatenate(have.top[task]) == np.concatenate(want.top[task])
            checks.append(at_least(AGREEMENT, f"agreement of {task} on the label", variant, same.mean(), self.count))
            if self._truth:
                moved = abs(self._measured(variant, task) - self._measured("fp32", task))
                checks.append(at_most(TASK_POINTS, f"change of {task}'s quality", variant, moved, self.count))
        return checks

    def _measured(self, variant: str, task: str) -> float:
        """The task's first figure."""
        figures = self._models[variant].task(task).measure(self.seen[variant].answers[task], self._truth)
        return next(iter(figures.values()))

    def _look(self) -> None:
        items, labels = self._draft.held_out.items, self._draft.held_out.labels
        chosen = np.unique(np.linspace(0, len(items) - 1, ITEMS).astype(int)).tolist()
        known: set[bytes] = set()
        console = Console(stderr=True)
        for at in track(range(0, len(chosen), _CHUNK), "gate: neighbours", console=console, transient=True):
            fresh: list[Sample] = []
            for i in chosen[at : at + _CHUNK]:
                sample = self._models["fp32"].prepare(items[i], self._draft.name)[0]
                if (print_ := _digest(sample)) not in known:
                    known.add(print_)
                    fresh.append(sample)
                    self._truth += [labels[i]] if labels else []
            if fresh:
                self.count += len(fresh)
                for variant in self._models:
                    self._run(variant, fresh)

    def _run(self, variant: str, samples: list[Sample]) -> None:
        model, seen = self._models[variant], self.seen[variant]
        started = time.perf_counter()
        encoded = model.encode(samples, self._draft.name)
        seen.seconds += time.perf_counter() - started
        embedding = encoded["out_embedding"]
        prepared = Prepared([[sample] for sample in samples], encoded)
        seen.vectors.append(unit(embedding))
        for task in self._draft.heads:
            logits = model.session(f"head_{task}").run({"embedding": embedding})[f"out_{task}"]
            seen.top.setdefault(task, []).append(logits.argmax(1))
            seen.answers.setdefault(task, []).extend(model.answer(prepared, task))


def recall_at_10(vectors: np.ndarray, exact: np.ndarray) -> float:
    """The share of each item's ten nearest by `vectors` that are its nearest by `exact`, ties counted as hits.

    vectors, exact   [N, D]  rows of unit length

    A neighbour is a hit if its exact score reaches the tenth best minus TIE: which of two equals comes tenth says
    nothing about a variant.
    """
    k, hits = min(NEIGHBOURS, len(exact) - 1), 0.0
    for at in range(0, len(exact), 512):
        scores, truth = vectors[at : at + 512] @ vectors.T, exact[at : at + 512] @ exact.T
        rows = np.arange(len(scores))
        scores[rows, at + rows] = truth[rows, at + rows] = -np.inf  # not its own neighbour
        nearest = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        tenth = -np.partition(-truth, k - 1, axis=1)[:, k - 1]
        hits += float((np.take_along_axis(truth, nearest, 1) >= tenth[:, None] - TIE).sum())
    return hits / (k * len(exact))


def _digest(sample: Sample) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(sample.arrays):
        digest.update(sample.arrays[name].tobytes())
    return digest.digest()
