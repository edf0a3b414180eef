"""SimCore: from an open set, take what lies nearest to a small target, round by round, until it lies too far.

Kim, Bae and Yun, "Coreset Sampling from Open-Set for Fine-Grained Self-Supervised Learning", CVPR 2023,
arXiv:2303.11101.
"""
# N target items, M pool items, K centroids, D features

import numpy as np
from pydantic import BaseModel, Field
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from enfold.model import unit
from training.selection import Selection


class SimCoreConfig(BaseModel, frozen=True, extra="forbid"):
    centroids: int = Field(100, ge=1)  # as many as target items where those are fewer
    patience: int = Field(20, ge=1)  # rounds before the choice may stop; the last of them sets the threshold
    drop: float = Field(0.95, gt=0, le=1)  # of the similarity then, below which it stops
    most: float = Field(50.0, gt=0)  # times the target's size


def select(
    config: SimCoreConfig, target: np.ndarray, pool: np.ndarray, *, budget: int | None, rng: np.random.Generator
) -> Selection:
    """In each round every centroid of the target takes its most similar item that no earlier round took.

    target [N, D], pool [M, D]   embeddings of any length
    """
    scores = centroids_of(target, config.centroids, rng) @ unit(pool).T  # [K, M]
    queues, at = np.argsort(-scores, axis=1, kind="stable"), np.zeros(len(scores), int)
    most = min(budget or len(pool), int(config.most * len(target)))
    taken, chosen = np.zeros(len(pool), bool), [np.empty(0, int)]
    trace: list[float] = []
    while taken.sum() < most and not taken.all():
        for k, queue in enumerate(queues):
            while taken[queue[at[k]]]:
                at[k] += 1
        picks = queues[np.arange(len(queues)), at]  # [K]; two centroids may pick the same
        trace.append(float(scores[np.arange(len(queues)), picks].mean()))
        if len(trace) > config.patience and trace[-1] < config.drop * trace[config.patience - 1]:
            break
        fresh = np.unique(picks)
        if taken.sum() + len(fresh) > most:
            fresh = rng.permutation(fresh)[: most - int(taken.sum())]
        taken[fresh] = True
        chosen.append(fresh)
    return Selection(np.concatenate(chosen), tuple(trace), rounds=len(chosen) - 1)


def centroids_of(target: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means on unit vectors, its centroids of unit length again, [K, D]."""
    points = unit(target)
    if count >= len(points):
        return points
    with threadpool_limits(1):
        fitted = KMeans(count, n_init=3, random_state=int(rng.integers(2**31))).fit(points)
    return unit(fitted.cluster_centers_)


Config = SimCoreConfig
