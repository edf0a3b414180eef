"""Places the points of a collection in two dimensions, near where their vectors are near: UMAP, or PCA for a few.

McInnes et al. 2018, arXiv:1802.03426. Fitted once and kept beside the collection; the map only draws it.
"""
# N points, D dimensions

import hashlib
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer

from enfold import settings
from enfold.client import Client
from enfold.errors import WrongUse, require
from enfold.settings import Settings
from serving import reach
from serving.index import arrow
from serving.jobs import record

FEW = 50  # points with too few neighbours for UMAP


class Layout(record.Arguments):
    """What to place."""

    collection: record.Word

    def id(self, settings: Settings) -> str:
        return hashlib.sha256(f"layout\0{self.collection}".encode()).hexdigest()[:16]

    def words(self) -> list[str]:
        return ["index", "layout", self.collection]


def layout(collection: Annotated[str, typer.Argument(help="name of the collection")]) -> dict[str, Any]:
    """Place the points of a collection in two dimensions, for the map."""
    config, job = settings.load(), Layout.checked(collection=collection)
    with (
        reach.collections(config) as home,
        record.running(config.jobs / job.id(config), "layout", ["enfold", *job.words()]) as work,
    ):
        work.tell("layout")
        return {"collection": collection, "points": place(home, collection)}


def place(home: Client | reach.Local, collection: str) -> int:
    """Fit and store the layout: how many points it has."""
    points = arrow.to_points(home.points(collection))
    if not len(points.ids):
        raise WrongUse(f"collection '{collection}' is empty: there is nothing to place")
    x, y = fit(points.vectors).T
    home.set_layout(collection, pa.table([points.ids, x, y], schema=arrow.LAYOUT))
    return len(points.ids)


def fit(vectors: np.ndarray) -> np.ndarray:
    """[N, D] -> float32 [N, 2], the same for the same vectors."""
    if len(vectors) < FEW or vectors.shape[1] < 3 or not np.ptp(vectors, axis=0).any():
        centred = vectors - vectors.mean(0)
        left, spread, _ = np.linalg.svd(centred, full_matrices=False)
        two = np.zeros((len(vectors), 2), np.float32)
        kept = min(2, len(spread))
        two[:, :kept] = left[:, :kept] * spread[:kept]
        return two
    umap = require("umap", "batch", "placing points on the map")
    # 200 epochs are what UMAP gives large sets; its 500 for small ones take twice as long and move little.
    mapper = umap.UMAP(metric="cosine", init="pca", n_epochs=200, random_state=0, n_jobs=1)
    placed: np.ndarray = mapper.fit_transform(vectors)
    return np.nan_to_num(placed).astype(np.float32)  # a point far from every other gets no place of its own
