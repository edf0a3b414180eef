"""How many directions embeddings really use: watched in training, asked for by the gate, reported by a server."""

import numpy as np


def rankme(embeddings: np.ndarray) -> float:
    """Effective rank of [N, D], from 1 to min(N, D): exp of the entropy of the singular values' shares; 0 if all are 0.

    Garrido et al. 2023 (RankMe), arXiv:2210.02885.
    """
    values = np.linalg.svd(embeddings.astype(np.float64), compute_uv=False)
    if not values.sum() > 0:
        return 0.0
    shares = values / values.sum() + 1e-7
    return float(np.exp(-(shares * np.log(shares)).sum()))
