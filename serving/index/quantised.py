"""What is lost when a search goes by vectors of 8 bits a number: measured before anybody is answered by them.

Scalar quantisation as Qdrant does it: every number into one of 255 steps between two quantiles of all numbers; more
candidates than are asked for are found by these, and put in order by the real vectors.
"""
# N vectors, D dimensions

import numpy as np

RECALL = 0.98  # of the nearest, at least
QUANTILE = 0.99  # of all numbers that lie between the first and the last step
OVERSAMPLING = 2.0  # candidates for each hit that is asked for
SAMPLE = 4000  # vectors that it is measured on
QUERIES = 200
NEAREST = 10


def recall(vectors: np.ndarray) -> float:
    """Of unit vectors float32 [N, D], N at least 2: how many of the true nearest are among those that are found."""
    steps, nearest = _steps(vectors), min(NEAREST, len(vectors) - 1)
    candidates = min(round(nearest * OVERSAMPLING), len(vectors) - 1)
    found = []
    for row in range(min(QUERIES, len(vectors))):
        exact, coarse = vectors @ vectors[row], steps @ steps[row]
        exact[row] = coarse[row] = -np.inf
        few = np.argpartition(-coarse, candidates - 1)[:candidates]
        best = few[np.argsort(-exact[few], kind="stable")[:nearest]]
        # Equals of the last that counts are as good as it.
        found.append(float((exact[best] >= np.sort(exact)[-nearest]).mean()))
    return float(np.mean(found))


def _steps(vectors: np.ndarray) -> np.ndarray:
    """float32 [N, D] -> the middle of the step that each number falls into."""
    low, high = np.quantile(vectors, [(1 - QUANTILE) / 2, (1 + QUANTILE) / 2])
    step = max(float(high - low) / 254, 1e-12)
    return np.asarray(np.clip(np.round((vectors - low) / step), 0, 254) * step + low, np.float32)
