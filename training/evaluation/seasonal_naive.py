"""The dull forecast: what was there one season ago. Beside every figure of a forecaster.

It looks at the same windows as a model; how long a season is, each data set chooses on its validation part, one step
(the last value goes on) among the choices.
"""
# N windows, L steps before, H steps after

import numpy as np

from training.evaluation import Subject
from training.evaluation.forecast import HORIZONS, Windows, errors, mean, windows

NEEDS_LABELS = False
SEASONS = (1, 4, 7, 12, 24, 48, 52, 96, 168)  # steps: quarters, days, months, hours, half hours, weeks, quarter hours


def evaluate(subject: Subject) -> dict[str, float]:
    held_out, found = windows(subject, "val", least=HORIZONS[0]), windows(subject, "test")
    chosen = {label: season(held_out[label]) if label in held_out else 1 for label in found}
    return errors(found, {label: repeated(one, chosen[label]) for label, one in found.items()})


def season(held_out: Windows) -> int:
    """The season of least squared error."""
    possible = [steps for steps in SEASONS if steps <= held_out.before["series"].shape[2]]
    return min(possible, key=lambda steps: mean((repeated(held_out, steps) - held_out.after) ** 2))


def repeated(found: Windows, steps: int) -> np.ndarray:
    """The last `steps` of each window again and again, [N, H]; what is missing is the window's mean."""
    series, measured = found.before["series"][:, 0], found.before["measured"][:, 0]
    level = series.sum(1, keepdims=True) / np.maximum(measured.sum(1, keepdims=True), 1)
    last = np.where(measured > 0, series, level)[:, -steps:]
    return np.tile(last, (1, -(-HORIZONS[-1] // steps)))[:, : HORIZONS[-1]]
