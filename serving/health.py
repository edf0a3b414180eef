"""Are a server's vectors still what they should be? Figures of the last ones, made when /metrics is read.

A request pays for keeping its rows and for nothing else.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from enfold.model import Model
from enfold.rankme import rankme

ROWS = 512  # of each entry of each model
Rows = deque[np.ndarray]  # of the raw embedding, [D] each
_LABELS = ("model", "variant", "size", "entry")
_FIGURES = {
    "enfold_embedding_rows": "Vectors that the other figures of embeddings are of: the last ones",
    "enfold_embedding_norm": "Mean length of vectors before they are normalised",
    "enfold_embedding_rankme": "Effective rank of vectors (RankMe): how many directions they use",
    "enfold_embedding_not_finite_ratio": "Share of vectors with a NaN or an infinite number",
}


class Health(Collector):
    """recent   the models in use, each with an entry and its last rows"""

    def __init__(self, recent: Callable[[], Iterable[tuple[Model, str, Rows]]]):
        self._recent = recent
        self._known: dict[
            tuple[str, str, str, str], tuple[np.ndarray, tuple[float, ...]]
        ] = {}  # the last row, and the figures

    def describe(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily(name, text, labels=_LABELS) for name, text in _FIGURES.items()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        known = {}
        for model, entry, recent in self._recent():
            key, rows = (model.bundle.ref, model.variant, model.size or "", entry), list(recent)
            before = self._known.get(key)
            known[key] = before if before and before[0] is rows[-1] else (rows[-1], figures(np.stack(rows)))
        self._known = known
        families = self.describe()
        for labels, (_, values) in known.items():
            for family, value in zip(families, values, strict=True):
                family.add_metric(labels, value)
        yield from families


def figures(rows: np.ndarray) -> tuple[float, float, float, float]:
    """Count, mean length, RankMe and share of not finite ones of [N, D]; length and rank are those of the finite."""
    finite = rows[np.isfinite(rows).all(1)].astype(np.float64)
    norm = float(np.linalg.norm(finite, axis=1).mean()) if len(finite) else float("nan")
    return len(rows), norm, rankme(finite) if len(finite) else float("nan"), 1 - len(finite) / len(rows)
