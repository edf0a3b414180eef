"""detect: which things stand where in a place: boxes in 3-D that stand upright and may be turned about z.

The graph sees windows of one size and gives boxes in the voxels, pillars or whatever cells of its input; a window's
`origin` says where its lowest corner lies and how long a cell is, and boxes are answered in the item's coordinates. Of
boxes of one label that overlap, in one window or in several, the surest is kept (non-maximum suppression). Measured
by mean average precision (Everingham et al. 2010, doi:10.1007/s11263-009-0275-4) at overlaps of 0.25 and 0.5.
"""
# B windows, N boxes, K labels

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter

from enfold.modalities import Sample, Spec
from enfold.tasks import Graphs, Prepared, Task

OVERLAPS = (0.25, 0.5)  # at which answers are measured
_BATCH = 4  # windows at once
_MOST = 400  # surest boxes of a label, which are compared with each other
_SHRUNK = 1e-7  # by which one of two boxes is taken smaller, so that no sides lie on each other and count twice
_CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])  # anticlockwise


class DetectSpec(Spec):
    labels: tuple[str, ...]
    graph: str  # inputs of an encoder -> out_boxes [B, N, 7] in cells, out_scores [B, N, K] from 0 to 1
    overlap: float = Field(0.25, ge=0, le=1)  # from which on two boxes of one label are one thing


class DetectOptions(BaseModel, extra="forbid"):
    least_score: float = Field(0.05, ge=0, le=1, description="boxes that are less sure are left out")
    top: int = Field(100, ge=1, le=1000, description="how many boxes to return, surest first")


class Box(BaseModel):
    """A thing where it stands, in the item's own coordinates: of a radiance field, metres."""

    label: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float] = Field(description="along x, y and z before it is turned")
    yaw: float = Field(0.0, description="how far it is turned about z, in radians, from x towards y")

    @property
    def numbers(self) -> list[float]:
        return [*self.centre, *self.size, self.yaw]

    @property
    def corners(self) -> np.ndarray:
        """[8, 3], the lower four before the upper, each anticlockwise."""
        rim = _turned(_CORNERS * np.array(self.size[:2]) / 2, np.array(self.yaw))
        levels = [np.c_[rim, np.full(4, height * self.size[2])] for height in (-0.5, 0.5)]
        return np.asarray(np.concatenate(levels) + self.centre)


class Scored(Box):
    score: float


class DetectAnswer(BaseModel):
    boxes: list[Scored] = Field(description="surest first")


Truth = TypeAdapter(list[Box])  # what stands beside an item, as JSON


class Detect(Task[DetectAnswer]):
    name = "detect"
    Spec, Options, Answer = DetectSpec, DetectOptions, DetectAnswer
    encodes = False

    def parts(self, options: DetectOptions) -> bool:
        return True

    def run(self, graphs: Graphs, prepared: Prepared, options: DetectOptions) -> list[DetectAnswer]:
        return [self._answer(graphs, windows, options) for windows in prepared.samples]

    def measure(self, answers: Sequence[DetectAnswer], truth: Sequence[str]) -> dict[str, float]:
        """Average precision at each of OVERLAPS, of each label that is there and their mean, and the recall of all.

        truth   JSON of the boxes of each item, as `Truth` reads it
        """
        real = [Truth.validate_json(text) for text in truth]
        there = [name for name in self.spec.labels if any(box.label == name for boxes in real for box in boxes)]
        figures: dict[str, float] = {}
        for least in OVERLAPS:
            judged = [_judged(answers, real, name, least) for name in there]
            precision = [average_precision(*found) for found in judged]
            at = f"{100 * least:.0f}"
            figures[f"map{at}"] = float(np.mean(precision)) if there else float("nan")
            figures[f"recall{at}"] = sum(int(hits.sum()) for _, hits, _ in judged) / max(1, sum(n for *_, n in judged))
            figures |= {f"ap{at}_{name}": value for name, value in zip(there, precision, strict=True)}
        return figures

    def _answer(self, graphs: Graphs, windows: list[Sample], options: DetectOptions) -> DetectAnswer:
        boxes, scores = [], []
        for at in range(0, len(windows), _BATCH):
            batch = windows[at : at + _BATCH]
            inputs = {name: np.stack([window.arrays[name] for window in batch]) for name in batch[0].arrays}
            found = graphs(self.spec.graph, inputs)
            boxes += [placed(own, one.origin) for own, one in zip(found["out_boxes"], batch, strict=True)]
            scores += list(found["out_scores"])
        where, sure = np.concatenate(boxes), np.concatenate(scores)  # [N, 7], [N, K]
        things: list[Scored] = []
        for column, label in enumerate(self.spec.labels):
            kept = suppressed(where, sure[:, column], least=options.least_score, overlap=self.spec.overlap)
            things += [_thing(label, where[i].tolist(), float(sure[i, column])) for i in kept]
        things.sort(key=lambda box: -box.score)
        return DetectAnswer(boxes=things[: options.top])


def _thing(label: str, box: list[float], score: float) -> Scored:
    return Scored(label=label, centre=tuple(box[:3]), size=tuple(box[3:6]), yaw=box[6], score=score)


def placed(boxes: np.ndarray, origin: Mapping[str, Any]) -> np.ndarray:
    """Boxes [N, 7] in cells of a window to the item's coordinates; a window without `origin` has them already."""
    side = float(origin.get("spacing", 1.0))
    found = boxes.astype(np.float64)
    found[:, :6] *= side
    found[:, :3] += origin.get("corner", 0.0)
    return found


def suppressed(boxes: np.ndarray, scores: np.ndarray, *, least: float, overlap: float) -> list[int]:
    """Indices of the boxes that stay, surest first: each box hides less sure ones that share more than `overlap`.

    boxes [N, 7], scores [N]; those below `least` are none, nor are boxes without a volume
    """
    real = (scores >= least) & np.isfinite(boxes).all(1) & (boxes[:, 3:6] > 0).all(1)
    order = np.flatnonzero(real)
    order = order[np.argsort(-scores[order], kind="stable")][:_MOST]
    kept: list[int] = []
    while len(order):
        first, order = int(order[0]), order[1:]
        kept.append(first)
        order = order[intersection_over_union(boxes[[first]], boxes[order])[0] <= overlap]
    return kept


def intersection_over_union(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The volume that two boxes share, of that which they fill together: [N, 7] and [M, 7] -> [N, M]."""
    a, b = np.broadcast_arrays(one[:, None].astype(np.float64), other[None].astype(np.float64))  # [N, M, 7]
    low, high = (
        choose(a[..., 2] + side * a[..., 5] / 2, b[..., 2] + side * b[..., 5] / 2)
        for choose, side in ((np.maximum, -1), (np.minimum, 1))
    )
    shared = shared_area(a, b) * np.clip(high - low, 0, None)
    together = a[..., 3:6].prod(-1) + b[..., 3:6].prod(-1) - shared
    return np.divide(shared, together, out=np.zeros_like(shared), where=together > 0)


def shared_area(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The area of the ground on which two boxes [..., 7] both stand, [...].

    Its rim is made of those parts of each rectangle's rim that lie in the other one, and by Green's theorem it is half
    the sum of the cross products along it.
    """
    turn = b[..., 6] - a[..., 6]
    away = _turned(b[..., :2] - a[..., :2], -a[..., 6])  # everything is seen from a's middle, along a's sides
    half_a, half_b = a[..., 3:5] / 2, b[..., 3:5] / 2 * (1 - _SHRUNK)
    rim_a = _CORNERS * half_a[..., None, :]  # [..., 4, 2]
    rim_b = away[..., None, :] + _turned(_CORNERS * half_b[..., None, :], turn[..., None])
    of_a = _turned(rim_a - away[..., None, :], -turn[..., None])  # a's corners along b's sides
    area = _along(rim_a, _inside(of_a, half_b)) + _along(rim_b, _inside(rim_b, half_a))
    return np.clip(area, 0, None)


def _inside(corners: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From which to which share of it, [..., 4], each side of a rim [..., 4, 2] lies within +-half [..., 2].

    Liang and Barsky 1984, doi:10.1145/357332.357333.
    """
    way = np.roll(corners, -1, -2) - corners
    with np.errstate(divide="ignore", invalid="ignore"):  # a side along one of the other's never meets it
        meets = [(sign * half[..., None, :] - corners) / way for sign in (-1, 1)]
    start = np.clip(np.fmin(*meets).max(-1), 0, 1)
    end = np.clip(np.fmax(*meets).min(-1), 0, 1)
    return start, np.maximum(start, end)


def _along(corners: np.ndarray, part: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Half the cross products along those parts of a rim's sides, summed."""
    way = np.roll(corners, -1, -2) - corners
    p, q = (corners + share[..., None] * way for share in part)
    found: np.ndarray = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(-1) / 2
    return found


def _turned(points: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """[..., 2] about 0, from x towards y."""
    x, y, cos, sin = points[..., 0], points[..., 1], np.cos(yaw), np.sin(yaw)
    return np.stack([cos * x - sin * y, sin * x + cos * y], -1)


def _judged(
    answers: Sequence[DetectAnswer], real: Sequence[Sequence[Box]], label: str, least: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores of all boxes of a label, which of them hit, and how many things there are.

    A box hits the thing that it shares most with, if that is `least` or more and no surer box has hit it.
    """
    scores: list[float] = []
    hits: list[bool] = []
    things = 0
    for answer, boxes in zip(answers, real, strict=True):
        found = sorted((box for box in answer.boxes if box.label == label), key=lambda box: -box.score)
        there = [box.numbers for box in boxes if box.label == label]
        things += len(there)
        scores += [box.score for box in found]
        if not found or not there:
            hits += [False] * len(found)
            continue
        shared = intersection_over_union(np.array([box.numbers for box in found]), np.array(there))
        taken: set[int] = set()
        for row in shared:
            best = int(row.argmax())
            hits.append(bool(row[best] >= least) and best not in taken)
            taken |= {best} if hits[-1] else set()
    return np.array(scores), np.array(hits, bool), things


def average_precision(scores: np.ndarray, hit: np.ndarray, things: int) -> float:
    """Area under precision over recall, precision being the best at that recall or beyond.

    scores [N] and whether each is a hit [N], of so many things that are there
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(hit[order])
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * hit[order]).sum() / things)
