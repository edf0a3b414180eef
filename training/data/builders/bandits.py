"""bandits: 400 synthetic tasks of five arms, with a hundred steps of somebody who played each; the label is the best.

*Synthetic* by the paper's own recipe (Lee, Xie et al. 2023, DPT, arXiv:2306.14892), whose tasks these families are.
Training draws tasks of its own; these are what an encoder is tried and judged on.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from training.data.arms import Bandits
from training.data.builders import Facts, write

TASKS, STEPS = 400, 100

FACTS = Facts(
    name="bandits",
    modality="trajectory",
    title="Bandits: synthetic tasks of five arms, with a hundred steps of somebody who played them",
    licence="CC0-1.0: made here",
    packages=(),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest into `target`; tasks stand in it."""
    family, rows = Bandits(), []
    for number in range(TASKS):
        rng = np.random.default_rng([2306, 14892, number])
        [means] = family.means(rng)
        steps = family.context(means, rng, STEPS)
        told = {"actions": steps.actions.tolist(), "rewards": steps.rewards.round(3).tolist()}
        name = f"task-{number:04}"
        best = {"label": family.names[means.argmax()], "best": float(means.max().round(3))}
        rows.append({"id": name, "group": name, "trajectory": json.dumps(told), **best})
    write(FACTS, rows, target)
