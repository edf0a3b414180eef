"""DLinear on a tenth of the training windows of each data set: a linear map of trend and one of remainder, added.

Zeng et al., "Are Transformers Effective for Time Series Forecasting?", AAAI 2023, arXiv:2205.13504. Fitted in closed
form, its penalty chosen on validation; each step ahead is a map of its own, so every horizon has what is best for it.
"""
# N windows, L steps before, H steps after

import numpy as np

from enfold.errors import WrongUse
from training.evaluation import Subject
from training.evaluation.forecast import HORIZONS, Windows, errors, mean, windows

NEEDS_LABELS = False
SHARE = 10  # every tenth window
KERNEL = 25  # steps of the moving average that is the trend
PENALTIES = np.logspace(-5, 3, 9)  # of a mean over windows


def evaluate(subject: Subject) -> dict[str, float]:
    train, found = windows(subject, "train", stride=SHARE), windows(subject, "test")
    held_out = windows(subject, "val", least=HORIZONS[0])
    if missing := set(found) - set(train):
        raise WrongUse(f"evaluation 'dlinear' fits a model of its own: data set '{missing.pop()}' has no training part")
    return errors(found, {label: fitted(train[label], held_out[label])(one) for label, one in found.items()})


class Linear:
    def __init__(self, weights: np.ndarray):
        self.weights = weights  # [2 L + 1, H]

    def __call__(self, found: Windows) -> np.ndarray:
        """[N, H]"""
        told: np.ndarray = decomposed(found) @ self.weights
        return told


def fitted(train: Windows, held_out: Windows) -> Linear:
    x, y = decomposed(train), np.nan_to_num(train.after)  # what is missing is at the mean
    covariance, target = x.T @ x / len(x), x.T @ y / len(x)
    ridge = np.eye(len(covariance))
    ridge[-1, -1] = 0  # of the constant
    models = [Linear(np.linalg.solve(covariance + penalty * ridge, target)) for penalty in PENALTIES]
    return min(models, key=lambda model: mean((model(held_out) - held_out.after) ** 2))


def decomposed(found: Windows) -> np.ndarray:
    """Trend, remainder and 1 for each window, [N, 2 L + 1]."""
    series = found.before["series"][:, 0].astype(np.float64)
    padded = np.pad(series, ((0, 0), (KERNEL // 2, KERNEL // 2)), mode="edge")
    trend = np.lib.stride_tricks.sliding_window_view(padded, KERNEL, axis=1).mean(2)
    return np.concatenate([trend, series - trend, np.ones((len(series), 1))], 1)
