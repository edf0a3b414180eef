"""Bandits: tasks in which one of several arms pays most, and nobody knows which.

As Lee, Xie et al. 2023 (DPT, arXiv:2306.14892) draw them: means from U[0, 1]; who played before preferred arms of its
own, sometimes one of them only.
"""
# M tasks, A arms, H steps

from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from enfold.modalities.trajectory import Steps


class Bandits(BaseModel, frozen=True, extra="forbid"):
    arms: int = Field(5, ge=2)
    pays: Literal["gaussian", "bernoulli"] = "gaussian"
    noise: float = Field(0.3, gt=0)  # standard deviation of a gaussian reward

    @property
    def state(self) -> int:
        """Numbers of a state."""
        return 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"arm {arm}" for arm in range(self.arms))

    def means(self, rng: np.random.Generator, tasks: int = 1) -> np.ndarray:
        """[M, A]"""
        return rng.random((tasks, self.arms))

    def rewards(self, means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Of arms with these means, of any shape."""
        if self.pays == "bernoulli":
            return (rng.random(means.shape) < means).astype(np.float64)
        found: np.ndarray = means + rng.normal(0, self.noise, means.shape)
        return found

    def context(self, means: np.ndarray, rng: np.random.Generator, steps: int, least: float = 0.0) -> Steps:
        """What somebody got who played a task [A] for so many steps, of whom nothing else is known.

        least   how much of the time a single arm was played, at the least, from 0 to 1 in tenths
        """
        alone = rng.choice(np.arange(round(10 * least), 11)) / 10
        shares = (1 - alone) * rng.dirichlet(np.ones(self.arms)) + alone * np.eye(self.arms)[rng.integers(self.arms)]
        actions = rng.choice(self.arms, steps, p=shares / shares.sum())
        return self.played(actions, self.rewards(means[actions], rng))

    def example(self, rng: np.random.Generator, steps: int) -> tuple[Steps, int]:
        """What somebody got in a new task, and the arm that is best in it."""
        [means] = self.means(rng)
        return self.context(means, rng, steps), int(means.argmax())

    @staticmethod
    def played(actions: np.ndarray, rewards: np.ndarray) -> Steps:
        """A bandit has one state, which is 1."""
        states = np.ones((len(actions), 1))
        return Steps(np.ones(1), states, actions.astype(np.int64), rewards, states)
