"""How far forecasts of the test part are from what came: MSE and MAE at several horizons, all by the same model.

From every 24th step of the test part on; series are less their mean and over their spread in the training part, so
that data sets (labels) weigh alike: a figure is a mean over horizons, windows and channels of a data set, then over
data sets. Of several needed models each data set is forecast by the last that learnt from it, or by the last of all.
"""
# N windows, L steps before, H steps after

from dataclasses import dataclass

import numpy as np

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.series import level, standardized, windowed
from enfold.tasks import Graphs
from enfold.tasks.forecast import rolled
from training.encoders import load_encoder
from training.evaluation import Subject
from training.heads import load_head, run_by

NEEDS_LABELS = False
HORIZONS = (24, 48, 96, 168)
STRIDE, BATCH = 24, 256


@dataclass(frozen=True)
class Windows:
    """Of one data set."""

    before: Arrays  # series, measured [N, 1, L]
    after: np.ndarray  # [N, H], NaN where nothing was measured or the series has ended

    def __len__(self) -> int:
        return len(self.after)


def evaluate(subject: Subject) -> dict[str, float]:
    found = windows(subject, "test")
    return errors(found, {label: told(subject, label, one) for label, one in found.items()})


def windows(subject: Subject, split: str, *, stride: int = STRIDE, least: int = HORIZONS[-1]) -> dict[str, Windows]:
    """Label -> windows of its series that end where something is to be forecast. Raises WrongUse without any.

    least   steps that must follow
    """
    data, L, H = subject.dataset.split(split), subject.modality.input_size, HORIZONS[-1]
    found: dict[str, list[tuple[Arrays, np.ndarray]]] = {}
    for number, record in enumerate(data.records):
        values = data.read(number, subject.modality).values
        fitted, starts = (int(record.payload.get(name, 0)) for name in ("fitted", "starts"))
        course = standardized(values, *level(values[: fitted or len(values)]))
        for end in range(starts or L, len(course) - least + 1, stride):
            for channel in range(course.shape[1]):
                after = np.full(H, np.nan)
                after[: len(course) - end] = course[end : end + H, channel]
                found.setdefault(record.label or "", []).append((windowed(course[:end, channel, None], L), after))
    if not found:
        raise WrongUse(f"no series of the {split} split has {least} steps after a window of {L}: give longer ones")
    return {
        label: Windows(
            {name: np.stack([before[name] for before, _ in pairs]) for name in pairs[0][0]},
            np.stack([after for _, after in pairs]),
        )
        for label, pairs in sorted(found.items())
    }


def told(subject: Subject, label: str, found: Windows) -> np.ndarray:
    """Forecasts of windows [N, H] by the needed model that is to make them."""
    graphs, name = forecaster(subject, label)
    rows = []
    for at in range(0, len(found), BATCH):
        window = {key: values[at : at + BATCH] for key, values in found.before.items()}
        rows.append(rolled(graphs, name, window, HORIZONS[-1])[:, 0])
    return np.concatenate(rows)


def forecaster(subject: Subject, label: str) -> tuple[Graphs, str]:
    """What runs the graph of the needed model that forecasts a data set, and the graph's name. Raises WrongUse."""
    run, stage = subject.run, subject.stage
    assert stage is not None
    made = [
        one for one in run.recipe.stage if one.name in stage.needs and (run.folder(one.name) / "head.json").exists()
    ]
    if not made:
        raise WrongUse(f"stage '{stage.name}' judges forecasts: let it need a stage that trains a forecaster")
    learnt = [one for one in made if one.data is None or label in one.data.only.get("label", (label,))]
    folder = run.folder((learnt or made)[-1].name)
    encoder = load_encoder(folder)
    saved = load_head(folder, encoder)
    return run_by(saved.head.graphs(encoder, subject.prepared("test", 2))), str(saved.spec["graph"])


def errors(found: dict[str, Windows], forecasts: dict[str, np.ndarray]) -> dict[str, float]:
    """mse and mae over data sets, of each, and at each horizon."""
    squared, absolute = (
        np.array(
            [
                [mean(np.abs(forecasts[label] - one.after)[:, :H] ** power) for H in HORIZONS]
                for label, one in found.items()
            ]
        )
        for power in (2, 1)
    )  # [data sets, horizons]
    figures = {"mse": squared.mean(), "mae": absolute.mean()}
    figures |= {f"mse_{label}": row.mean() for label, row in zip(found, squared, strict=True)}
    figures |= {f"mse_h{H}": column.mean() for H, column in zip(HORIZONS, squared.T, strict=True)}
    return {name: float(value) for name, value in figures.items()}


def mean(values: np.ndarray) -> float:
    """Of what is known."""
    return float(np.nanmean(values))
