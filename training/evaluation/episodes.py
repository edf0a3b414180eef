"""Finding a goal that was never trained on: the return of one episode after the other in the same dark room.

Online the model draws its actions, and what it got in the episode before is its context; offline it is given steps by
chance and takes the most probable. Weights stay as they are (Lee, Xie et al. 2023, DPT, arXiv:2306.14892). Beside it
who walks by chance, and who knows the goal.
"""
# M rooms, H steps of an episode

import numpy as np

from enfold.modalities.trajectory import Steps
from enfold.tasks.act import taken
from training.data.darkroom import Darkroom
from training.evaluation import Subject
from training.evaluation.rollouts import probabilities
from training.methods.dpt import DPT

NEEDS_LABELS = False
EPISODES, ROOMS, SEED = 20, 200, 7  # rooms in all, each held-out goal as often as any other


def evaluate(subject: Subject) -> dict[str, float]:
    method = subject.method
    assert isinstance(method, DPT)
    room, horizon = method.config.tasks, subject.modality.preprocess.horizon
    assert isinstance(room, Darkroom)
    goals = np.resize(room.goals(held_out=True), (ROOMS, 2))
    rng, returns = np.random.default_rng(SEED), []
    contexts = [nothing(room)] * ROOMS
    for _ in range(EPISODES):
        contexts = episode(method, room, goals, contexts, horizon, "online", rng)
        returns.append(mean_return(contexts))
    given = [room.context(goal, rng, horizon) for goal in goals]
    far = np.abs(goals).sum(1)  # steps from where an episode begins
    return {
        "return": returns[-1],
        "first_return": returns[0],
        "offline_return": mean_return(episode(method, room, goals, given, horizon, "offline", rng)),
        "best_return": float((horizon - np.maximum(far, 1) + 1).mean()),
        "uniform_return": by_chance(room, goals, horizon, rng),
    }


def episode(
    method: DPT,
    room: Darkroom,
    goals: np.ndarray,
    contexts: list[Steps],
    horizon: int,
    mode: str,
    rng: np.random.Generator,
) -> list[Steps]:
    """What is got in every room, of goals [M, 2], from its corner, acting by what the contexts hold."""
    places = np.zeros_like(goals)
    states, actions, rewards, after = [], [], [], []
    for _ in range(horizon):
        asked = [
            Steps(place.astype(np.float64), one.states, one.actions, one.rewards, one.next_states)
            for place, one in zip(places, contexts, strict=True)
        ]
        chosen = taken(probabilities(method, asked), mode, rng)
        states.append(places)
        places = room.moved(places, chosen)
        actions.append(chosen)
        rewards.append((places == goals).all(1))
        after.append(places)
    columns = [np.stack(one, 1) for one in (states, actions, rewards, after)]
    return [
        Steps(places[0] * 0.0, before.astype(float), acted, got.astype(float), then.astype(float))
        for before, acted, got, then in zip(*columns, strict=True)
    ]


def mean_return(episodes: list[Steps]) -> float:
    return float(np.mean([one.rewards.sum() for one in episodes]))


def by_chance(room: Darkroom, goals: np.ndarray, horizon: int, rng: np.random.Generator) -> float:
    """Mean over rooms of what an episode of actions by chance brings."""
    places, got = np.zeros_like(goals), 0.0
    for _ in range(horizon):
        places = room.moved(places, rng.integers(len(room.names), size=len(goals)))
        got += float((places == goals).all(1).mean())
    return got


def nothing(room: Darkroom) -> Steps:
    """An empty context."""
    none = np.zeros((0, room.state))
    return Steps(np.zeros(room.state), none, np.zeros(0, np.int64), np.zeros(0), none)
