"""Builds faiss's graph of vectors and answers queries by it: faiss_nearest.py FOLDER VECTORS INDEX THREADS"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np
from asked import measure

EDGES, CONSTRUCTION, SEARCH = 16, 100, 100  # as the embedded engine builds and walks its own


def opened(file: str) -> Callable[[np.ndarray, int], Sequence[int]]:
    index = faiss.read_index(file)
    index.hnsw.efSearch = SEARCH
    faiss.omp_set_num_threads(1)  # of one query; the engine walks one graph in one thread too
    return lambda query, nearest: index.search(query[None], nearest)[1][0].tolist()


if __name__ == "__main__":
    folder, vectors, file, threads = sys.argv[1:]
    if not Path(file).exists():
        faiss.omp_set_num_threads(int(threads))
        found = np.load(vectors)
        index = faiss.IndexHNSWFlat(found.shape[1], EDGES, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = CONSTRUCTION
        index.add(found)
        faiss.write_index(index, file)
    else:
        measure(Path(folder), lambda: opened(file))
