"""Answers queries as the embedded index does, or by numpy: nearest.py WAY FOLDER INDEX"""

import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine
from asked import measure

from serving.index import Query
from serving.index.collection import EdgeCollection
from serving.index.quantised import OVERSAMPLING

Ask = Callable[[np.ndarray, int], Sequence[int]]


def every_vector(index: Path) -> Ask:
    vectors = np.load(index)

    def ask(query: np.ndarray, nearest: int) -> Sequence[int]:
        scores = vectors @ query
        few = np.argpartition(-scores, nearest - 1)[:nearest]
        return few[np.argsort(-scores[few])].tolist()

    return ask


def collection(index: Path, *, exact: bool) -> Ask:
    kept = EdgeCollection(index)
    return lambda query, nearest: [
        uuid.UUID(hit.id).int for hit in kept.query(Query(query, limit=nearest, exact=exact))
    ]


def eight_bits(index: Path) -> Ask:
    """The engine alone, as a Qdrant server searches a collection that enfold quantised."""
    shard = engine.EdgeShard.load(str(index))
    how = engine.SearchParams(quantization=engine.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING))

    def ask(query: np.ndarray, nearest: int) -> Sequence[int]:
        vector: Any = query  # the engine takes arrays, and needs no copy
        asked = engine.QueryRequest(nearest, query=engine.Query.Nearest(vector), params=how, with_payload=True)
        return [uuid.UUID(str(hit.id)).int for hit in shard.query(asked)]

    return ask


WAYS: dict[str, Callable[[Path], Ask]] = {
    "numpy": every_vector,
    "exact": lambda index: collection(index, exact=True),
    "graph": lambda index: collection(index, exact=False),
    "eight_bits": eight_bits,
}

if __name__ == "__main__":
    way, folder, index = sys.argv[1:]
    measure(Path(folder), lambda: WAYS[way](Path(index)))
