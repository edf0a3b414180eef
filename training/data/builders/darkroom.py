"""darkroom: 400 synthetic rooms of 7 x 7 with a hidden goal, fifty steps from anywhere by chance, and a question about
a place; the label is the best action there. Rooms of the test split have goals that no training sees.

*Synthetic* by the paper's own recipe (Lee, Xie et al. 2023, DPT, arXiv:2306.14892), whose tasks these are. Training
draws rooms of its own; these are what an encoder is tried and judged on.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from training.data.builders import Facts, write
from training.data.darkroom import Darkroom

ROOMS, STEPS, SIDE = 400, 50, 7

FACTS = Facts(
    name="darkroom",
    modality="trajectory",
    title="Dark rooms: synthetic, of 7 x 7 with a hidden goal, with fifty steps by chance",
    licence="CC0-1.0: made here",
    packages=(),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest into `target`; rooms stand in it."""
    room, rows = Darkroom(side=SIDE), []
    for number in range(ROOMS):
        rng = np.random.default_rng([2306, 14892, number])
        split = ("train", "train", "train", "val", "test")[number % 5]
        goal = rng.choice(room.goals(held_out=split == "test"))
        steps = room.context(goal, rng, STEPS)
        told = {
            "observations": steps.states.astype(int).tolist(),
            "actions": steps.actions.tolist(),
            "rewards": steps.rewards.astype(int).tolist(),
            "next_observations": steps.next_states.astype(int).tolist(),
            "query": steps.query.astype(int).tolist(),
        }
        best = {"label": room.names[room.best(goal, steps.query)], "goal": f"{goal[0]}, {goal[1]}"}
        rows.append(
            {"id": f"room-{number:04}", "group": f"room-{number:04}", "split": split, "trajectory": json.dumps(told)}
            | best
        )
    write(FACTS, rows, target)
