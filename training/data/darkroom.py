"""Darkroom: a square room with a goal that nobody sees; who stands on it gets 1 a step.

As Lee, Xie et al. 2023 (DPT, arXiv:2306.14892) have it: some goals are kept for judging, contexts are steps from
everywhere to everywhere, of actions by chance.
"""
# M rooms, H steps; a place is (x, y)

import numpy as np
from pydantic import BaseModel, Field

from enfold.modalities.trajectory import Steps

_MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)])


class Darkroom(BaseModel, frozen=True, extra="forbid"):
    side: int = Field(10, ge=2)
    held_out: float = Field(0.2, gt=0, lt=1)  # share of the goals

    @property
    def state(self) -> int:
        """Numbers of a state."""
        return 2

    @property
    def names(self) -> tuple[str, ...]:
        return ("left", "right", "up", "down", "stay")

    def goals(self, *, held_out: bool) -> np.ndarray:
        """[M, 2], the same everywhere."""
        cells = np.random.default_rng(self.side).permutation(self.side**2)
        kept = round(self.held_out * len(cells))
        chosen = np.sort(cells[:kept] if held_out else cells[kept:])
        return np.stack([chosen % self.side, chosen // self.side], 1)

    def moved(self, places: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Where actions [...] lead from places [..., 2]; a wall stops."""
        return np.clip(places + _MOVES[actions], 0, self.side - 1)

    def best(self, goal: np.ndarray, place: np.ndarray) -> int:
        """Along x first: any other shortest way would be as good, but one is to be told."""
        x, y = np.sign(goal - place)
        found: int = {-1: 0, 1: 1, 0: {-1: 2, 1: 3, 0: 4}[y]}[x]
        return found

    def context(self, goal: np.ndarray, rng: np.random.Generator, steps: int) -> Steps:
        """Steps that know nothing of each other, and a question about any place."""
        places, actions = rng.integers(self.side, size=(steps, 2)), rng.integers(len(_MOVES), size=steps)
        after = self.moved(places, actions)
        return Steps(
            query=rng.integers(self.side, size=2).astype(np.float64),
            states=places.astype(np.float64),
            actions=actions,
            rewards=(after == goal).all(1).astype(np.float64),
            next_states=after.astype(np.float64),
        )

    def example(self, rng: np.random.Generator, steps: int) -> tuple[Steps, int]:
        """What somebody got in a room whose goal is not held out, and the best action where the question is."""
        goal = rng.choice(self.goals(held_out=False))
        found = self.context(goal, rng, steps)
        return found, self.best(goal, found.query)
