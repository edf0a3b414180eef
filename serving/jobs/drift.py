"""Whether new items are like those of a reference, as their vectors tell.

mmd2, p_value    maximum mean discrepancy with a Gaussian kernel of the median distance, and how often as much is found
                 when new and old are shuffled (Gretton et al. 2012, JMLR 13)
beyond           the share of new points farther from their nearest references than 99 of 100 references are from
                 theirs: 0.01 where nothing has changed
"""
# N references, M new points, D dimensions, K neighbours, P shuffles

import hashlib
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import Field, model_validator

from enfold import settings
from enfold.errors import WrongUse
from enfold.settings import Settings
from enfold.space import same_space
from serving import reach
from serving.index import Points, arrow
from serving.jobs import record
from serving.jobs.health import K, neighbours, units

MOST = 2000  # points of either side that are looked at
SHUFFLES = 500
SURE = 0.01  # p-value below which it is called a drift
FARTHEST = 10  # points that are named
_FEWEST = 5


class Drift(record.Arguments):
    """Which points are new, and what they are held against."""

    collection: record.Word
    field: record.Word | None = Field(None, description="payload field that tells the new points")
    value: str | None = Field(None, max_length=4096)
    reference: record.Word | None = None

    @model_validator(mode="after")
    def _two_sides(self) -> "Drift":
        if (self.field is None) != (self.value is None):
            raise ValueError("'field' and 'value' are said together: those points are new")
        if self.field is None and self.reference is None:
            raise ValueError("say which points are new by 'field' and 'value', or another collection as 'reference'")
        return self

    def id(self, settings: Settings) -> str:
        told = "\0".join(str(one) for one in (self.collection, self.field, self.value, self.reference))
        return hashlib.sha256(f"drift\0{told}".encode()).hexdigest()[:16]

    def words(self) -> list[str]:
        chosen = ["--where", f"{self.field}={self.value}"] if self.field else []
        chosen += ["--reference", self.reference] if self.reference else []
        return ["index", "drift", self.collection, *chosen]


def drift(
    collection: Annotated[str, typer.Argument(help="name of the collection")],
    where: Annotated[str | None, typer.Option(help="FIELD=VALUE of the new points; all of them if left out")] = None,
    reference: Annotated[str | None, typer.Option(help="collection of the same space; else the other points")] = None,
) -> dict[str, Any]:
    """Tell whether some points of a collection are unlike the others, or unlike another collection."""
    field, equals, value = (where or "").partition("=")
    if where is not None and not (field and equals):
        raise WrongUse(f"--where {where!r} is no FIELD=VALUE")
    told = {"field": field, "value": value} if where else {}
    config, job = settings.load(), Drift.checked(collection=collection, reference=reference, **told)
    with (
        reach.collections(config) as home,
        record.running(config.jobs / job.id(config), "drift", ["enfold", *job.words()]) as work,
    ):
        work.tell("comparing")
        points = arrow.to_points(home.points(collection))
        is_new = np.array([job.field is None or _is(one.get(job.field), job.value) for one in points.payloads], bool)
        new, rest = _of(points, is_new), _of(points, ~is_new)
        if reference is not None:
            rest = arrow.to_points(home.points(reference))
            same_space(points.space, rest.space, what=f"collection '{collection}'", where=f"collection '{reference}'")
        return {"collection": collection, **compare(rest, new)}


def compare(reference: Points, new: Points) -> dict[str, Any]:
    """How new points differ. Raises WrongUse for fewer than five on either side."""
    for points, what in ((reference, "reference"), (new, "new")):
        if len(points.ids) < _FEWEST:
            raise WrongUse(f"there are {len(points.ids)} {what} points; to compare them takes {_FEWEST} or more each")
    old_rows, new_rows = (_some(len(points.ids)) for points in (reference, new))
    old, now = units(reference.vectors[old_rows]), units(new.vectors[new_rows])
    mmd2, p_value = discrepancy(old, now)
    distance, limit = beyond(old, now)
    order = np.argsort(-distance, kind="stable")[:FARTHEST]
    return {
        "reference": len(reference.ids),
        "new": len(new.ids),
        "mmd2": round(mmd2, 6),
        "p_value": round(p_value, 4),
        "drifted": p_value < SURE,
        "beyond": round(float((distance > limit).mean()), 4),
        "farthest": [new.ids[int(new_rows[row])] for row in order],
    }


def discrepancy(old: np.ndarray, now: np.ndarray) -> tuple[float, float]:
    """[N, D], [M, D] -> the unbiased squared discrepancy, and the share of shuffles with as much or more."""
    both, count = np.concatenate([old, now]).astype(np.float64), len(old)
    lengths = (both**2).sum(1)
    squares = np.maximum(lengths[:, None] + lengths - 2 * both @ both.T, 0)
    middle = float(np.median(squares[np.triu_indices(len(both), 1)]))
    kernel = np.exp(-squares / max(middle, 1e-12))
    np.fill_diagonal(kernel, 0)
    rng = np.random.default_rng(0)
    sides = np.zeros((len(both), SHUFFLES + 1))  # 1 where a point counts as old; the first column is as it is
    sides[:count, 0] = 1
    for column in range(1, SHUFFLES + 1):
        sides[rng.permutation(len(both))[:count], column] = 1
    own = (sides * (kernel @ sides)).sum(0)
    across = sides.T @ kernel.sum(1) - own
    others = kernel.sum() - own - 2 * across
    rest = len(both) - count
    found = own / (count * (count - 1)) + others / (rest * (rest - 1)) - 2 * across / (count * rest)
    return float(found[0]), float((found >= found[0]).mean())


def beyond(old: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, float]:
    """Unit vectors [N, D], [M, D] -> mean cosine distance [M] to the K nearest references, and what 99 of 100
    references keep below to theirs."""
    k = min(K, len(old) - 1)
    own = 1 - neighbours(old, k)[1].mean(1)
    nearest = -np.partition(-(now @ old.T), k - 1, axis=1)[:, :k]
    return np.asarray(1 - nearest.mean(1)), float(np.quantile(own, 0.99))


def _is(found: Any, value: str | None) -> bool:
    """As `--where` of a search: a number or truth value is also its text."""
    told = str(found).lower() if isinstance(found, bool) else str(found)
    return found is not None and told == value


def _of(points: Points, rows: np.ndarray) -> Points:
    kept = [row for row, chosen in enumerate(rows.tolist()) if chosen]
    payloads = [points.payloads[row] for row in kept]
    return Points([points.ids[row] for row in kept], points.vectors[kept], payloads, points.space)


def _some(count: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST])
