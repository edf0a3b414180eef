"""Acting in 200 new bandits without learning: regret where actions are tried, and what is lost where they are not.

Online the model begins with nothing, draws its actions and sees what they bring, for as many steps as it was trained
on; beside it Thompson sampling with the true prior, UCB1, the best mean so far, and chance (Lee, Xie et al. 2023, DPT,
arXiv:2306.14892). Offline it is given what a player of few arms got; beside it the best mean and a lower bound (LCB).
"""
# M tasks, A arms, H steps

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from enfold.modalities.trajectory import Steps, tokens
from enfold.tasks import softmax
from enfold.tasks.act import taken
from training.data.arms import Bandits
from training.evaluation import Subject
from training.methods.dpt import DPT

NEEDS_LABELS = False
TASKS, SEED = 200, 7
SKEWED = 0.5  # of the time one arm was played, at the least, in contexts that are given

Player = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]  # (counts, sums [M, A]) -> arms [M]


def evaluate(subject: Subject) -> dict[str, float]:
    method = subject.method
    assert isinstance(method, DPT)
    family, horizon = method.config.tasks, subject.modality.preprocess.horizon
    assert isinstance(family, Bandits)
    means = family.means(np.random.default_rng(SEED), TASKS)
    figures = {"regret": online(method, family, means, horizon)}
    for name, player in PLAYERS.items():
        figures[f"{name}_regret"] = played(player, family, means, horizon)
    return figures | offline(method, family, means, horizon)


def online(method: DPT, family: Bandits, means: np.ndarray, horizon: int) -> float:
    """Mean over tasks [M, A] of what was lost in all steps against the best arm."""
    rng, tasks = np.random.default_rng(SEED), np.arange(len(means))
    actions, rewards = np.zeros((2, len(means), 0))
    for _ in range(horizon):
        given = [Bandits.played(a.astype(int), r) for a, r in zip(actions, rewards, strict=True)]
        chosen = taken(probabilities(method, given), "online", rng)
        got = family.rewards(means[tasks, chosen], rng)
        actions, rewards = np.c_[actions, chosen], np.c_[rewards, got]
    lost = means.max(1, keepdims=True) - np.take_along_axis(means, actions.astype(int), 1)
    return float(lost.sum(1).mean())


def offline(method: DPT, family: Bandits, means: np.ndarray, horizon: int) -> dict[str, float]:
    """What the chosen arm brings less than the best, by the model, the best mean and the best lower bound."""
    rng = np.random.default_rng(SEED)
    given = [family.context(row, rng, horizon, SKEWED) for row in means]
    counts = np.stack([np.bincount(one.actions, minlength=family.arms) for one in given])
    sums = np.stack([np.bincount(one.actions, one.rewards, family.arms) for one in given])
    seen = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
    bound = seen - np.sqrt(1 / np.maximum(counts, 1))
    chosen = {
        "": taken(probabilities(method, given), "offline", rng),
        "mean_": seen.argmax(1),
        "lcb_": bound.argmax(1),
    }
    lost = {name: means.max(1) - means[np.arange(len(means)), arms] for name, arms in chosen.items()}
    return {f"{name}suboptimality": float(one.mean()) for name, one in lost.items()}


@torch.inference_mode()
def probabilities(method: DPT, given: list[Steps]) -> np.ndarray:
    """[M, A], of contexts of one length."""
    made = [tokens(one, len(method.config.tasks.names), slice(None)) for one in given]
    inputs = {name: torch.from_numpy(np.stack([one[name] for one in made])) for name in made[0]}
    return softmax(method.task_head(method.encoder(inputs).embedding).numpy())


def played(player: Player, family: Bandits, means: np.ndarray, horizon: int) -> float:
    """The regret of a player who counts."""
    rng, tasks = np.random.default_rng(SEED), np.arange(len(means))
    counts, sums, lost = np.zeros(means.shape), np.zeros(means.shape), 0.0
    for _ in range(horizon):
        arms = player(counts, sums, rng)
        counts[tasks, arms] += 1
        sums[tasks, arms] += family.rewards(means[tasks, arms], rng)
        lost += float((means.max(1) - means[tasks, arms]).mean())
    return lost


def thompson(counts: np.ndarray, sums: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The best of a draw from what is believed of each mean: normal about what was seen, cut to [0, 1]."""
    seen, spread = sums / np.maximum(counts, 1), 0.3 / np.sqrt(np.maximum(counts, 1))
    low, high = ndtr((0 - seen) / spread), ndtr((1 - seen) / spread)
    drawn = seen + spread * ndtri(np.clip(low + rng.random(seen.shape) * (high - low), 1e-12, 1 - 1e-12))
    best: np.ndarray = np.where(counts > 0, drawn, rng.random(seen.shape)).argmax(1)
    return best


def ucb(counts: np.ndarray, sums: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    bound = sums / np.maximum(counts, 1) + np.sqrt(1 / np.maximum(counts, 1))
    best: np.ndarray = np.where(counts > 0, bound, np.inf).argmax(1)
    return best


def greedy(counts: np.ndarray, sums: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    best: np.ndarray = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf).argmax(1)
    return best


def uniform(counts: np.ndarray, sums: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(counts.shape[1], size=len(counts))


PLAYERS: dict[str, Player] = {"thompson": thompson, "ucb": ucb, "greedy": greedy, "uniform": uniform}
