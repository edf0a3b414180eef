"""Uniform choice: the baseline of every selection."""

import numpy as np
from pydantic import BaseModel

from enfold.errors import WrongUse
from training.selection import Selection


class UniformConfig(BaseModel, frozen=True, extra="forbid"):
    pass


def select(
    config: UniformConfig, target: np.ndarray, pool: np.ndarray, *, budget: int | None, rng: np.random.Generator
) -> Selection:
    """`budget` items, each as likely as any other."""
    if budget is None:
        raise WrongUse("selection 'uniform' needs a budget, or a needed select stage to take as many as")
    return Selection(rng.permutation(len(pool))[:budget], rounds=1)


Config = UniformConfig
