"""Which items of a pool are worth training on. A selection is a file of this folder with a `Config` and `select`.

`select(config, target, pool, budget, rng)` sees embeddings of the target and of the pool and a number of items it may
take at most; never a label, and nothing of the target's test split.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Selection:
    """Positions in the pool, each once, and what the choice was made by."""

    chosen: np.ndarray  # int64 [S]
    trace: tuple[float, ...] = ()  # one figure per round, kept or not
    rounds: int = 0  # that were kept
