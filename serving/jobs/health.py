"""What is the matter with a data set, as its vectors tell: copies, odd ones out, labels in doubt, and what covers it.

nearest, likeness    the nearest other point, and its cosine
copy_of              the point it is a copy of, where a chain of neighbours at least `alike` leads there
oddity               the share of points that lie nearer to their neighbours: 0.99 is among the oddest hundredth
                     (mean cosine distance to the K nearest; Ramaswamy et al. 2000)
agreement, suggested the share of the K nearest labels that are its own, and the label that most of them carry
                     (edited nearest neighbour; Wilson 1972); of points with a label
cover                1, 2, … for the points that, taken in this order, lie nowhere far from any point
                     (farthest first; Gonzalez 1985)
"""
# N points, D dimensions, K neighbours

import hashlib
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from pydantic import Field

from enfold import settings
from enfold.errors import WrongUse
from enfold.settings import Settings
from serving import reach
from serving.index import Points, arrow
from serving.jobs import record

Tell = Callable[[int, int], None]  # how many points are done, of how many
K = 10
COVER = 500  # points that are put in order
_ROWS = 1024  # of a block of comparisons


class Health(record.Arguments):
    """What to look at."""

    collection: record.Word
    label: record.Word = "label"
    alike: float = Field(0.98, gt=0, le=1)

    def id(self, settings: Settings) -> str:
        return hashlib.sha256(f"health\0{self.collection}".encode()).hexdigest()[:16]

    def words(self) -> list[str]:
        return ["index", "health", self.collection, "--label", self.label, "--alike", str(self.alike)]


def health(
    collection: Annotated[str, typer.Argument(help="name of the collection")],
    label: Annotated[str, typer.Option(help="payload field that holds the labels")] = "label",
    alike: Annotated[float, typer.Option(help="cosine from which two points are copies")] = 0.98,
) -> dict[str, Any]:
    """Find copies, odd ones, labels in doubt and what covers a collection, and keep it beside its points."""
    config, job = settings.load(), Health.checked(collection=collection, label=label, alike=alike)
    with (
        reach.collections(config) as home,
        record.running(config.jobs / job.id(config), "health", ["enfold", *job.words()]) as work,
    ):
        work.tell("comparing")
        points = arrow.to_points(home.points(collection))
        table = examine(
            points,
            label=label,
            alike=alike,
            tell=lambda done, total: work.tell("comparing", done=done, total=total),
        )
        home.set_health(collection, table)
    return {"collection": collection, **summary(table)}


def examine(points: Points, *, label: str = "label", alike: float = 0.98, tell: Tell | None = None) -> pa.Table:
    """A table of `arrow.HEALTH`. Raises WrongUse for fewer than two points."""
    if len(points.ids) < 2:
        raise WrongUse(f"there are {len(points.ids)} points; to compare them takes two or more")
    vectors = units(points.vectors)
    near, likeness = neighbours(vectors, min(K, len(vectors) - 1), tell)
    labels = [payload.get(label) for payload in points.payloads]
    agreement, suggested = labels_in_doubt(near, [None if one is None else str(one) for one in labels])
    copies = copies_of(near, likeness, alike)
    ids = pa.array(points.ids)
    return pa.table(
        [
            ids,
            ids.take(pa.array(near[:, 0])),
            pa.array(likeness[:, 0]),
            pa.array([None if first == row else points.ids[first] for row, first in enumerate(copies)], pa.string()),
            pa.array(oddity(likeness)),
            pa.array(agreement, pa.float32()),
            pa.array(suggested, pa.string()),
            pa.array(cover(vectors, COVER), pa.int32()),
        ],
        schema=arrow.HEALTH,
    )


def summary(table: pa.Table) -> dict[str, Any]:
    agreement = table["agreement"].drop_null().to_numpy()
    return {
        "points": len(table),
        "copies": len(table) - table["copy_of"].null_count,
        "labels_in_doubt": int((agreement < 0.5).sum()),
        "labelled": len(agreement),
    }


def neighbours(vectors: np.ndarray, k: int, tell: Tell | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Of unit vectors [N, D]: the K nearest others [N, K], nearest first, and their cosines; every pair is compared."""
    near = np.empty((len(vectors), k), np.int64)
    likeness = np.empty((len(vectors), k), np.float32)
    for at in range(0, len(vectors), _ROWS):
        rows = vectors[at : at + _ROWS] @ vectors.T  # [R, N]
        own = np.arange(len(rows))
        rows[own, at + own] = -np.inf
        few = np.argpartition(-rows, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(rows, few, 1), axis=1, kind="stable")
        near[at : at + _ROWS] = np.take_along_axis(few, order, 1)
        likeness[at : at + _ROWS] = np.take_along_axis(rows, near[at : at + _ROWS], 1)
        if tell is not None:
            tell(min(at + _ROWS, len(vectors)), len(vectors))
    return near, likeness


def copies_of(near: np.ndarray, likeness: np.ndarray, alike: float) -> np.ndarray:
    """[N, K] -> int64 [N], the first point of the group that each belongs to: itself for one without copies."""
    rows, columns = np.nonzero(likeness >= alike)
    others, first = near[rows, columns], np.arange(len(near))
    while True:  # the lowest number spreads along every chain
        lower = first.copy()
        np.minimum.at(lower, rows, first[others])
        np.minimum.at(lower, others, first[rows])
        lower = lower[lower]
        if (lower == first).all():
            return first
        first = lower


def oddity(likeness: np.ndarray) -> np.ndarray:
    """[N, K] -> float32 [N], the share of points whose neighbours are nearer."""
    distance = 1 - likeness.mean(1)
    return (np.searchsorted(np.sort(distance), distance) / len(distance)).astype(np.float32)


def labels_in_doubt(near: np.ndarray, labels: list[str | None]) -> tuple[list[float | None], list[str | None]]:
    """[N, K] -> of each labelled point with labelled neighbours the share that agrees, and the label of most."""
    names = sorted({one for one in labels if one is not None})
    place = {name: i for i, name in enumerate(names)}
    own = np.array([-1 if one is None else place[one] for one in labels])
    agreement: list[float | None] = [None] * len(labels)
    suggested: list[str | None] = [None] * len(labels)
    for row in np.flatnonzero(own >= 0):
        known = own[near[row]]
        known = known[known >= 0]
        if len(known):
            agreement[row] = float((known == own[row]).mean())
            suggested[row] = names[int(np.bincount(known).argmax())]
    return agreement, suggested


def cover(vectors: np.ndarray, most: int) -> list[int | None]:
    """Of unit vectors [N, D]: the rank of each in farthest-first order, None beyond `most` and for copies of others."""
    order: list[int | None] = [None] * len(vectors)
    best = vectors @ units(vectors.mean(0, keepdims=True))[0]  # begin in the middle
    chosen, likeness = int(best.argmax()), np.full(len(vectors), -np.inf, np.float32)
    for rank in range(1, min(most, len(vectors)) + 1):
        order[chosen] = rank
        likeness = np.maximum(likeness, vectors @ vectors[chosen])
        chosen = int(likeness.argmin())
        if likeness[chosen] > 1 - 1e-6:
            break
    return order


def units(vectors: np.ndarray) -> np.ndarray:
    """[N, D] -> float32 [N, D] of length 1; nothing stays nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
