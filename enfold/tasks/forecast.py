"""forecast: how a series goes on, for as many steps as asked for, with the range in which each is likely to lie.

The graph tells some steps at once; of what it told, the last window is looked at again, and so on: so a shorter
forecast is the beginning of a longer one. Ranges are those of many courses that each err on the way as the model erred
on series held out (a residual bootstrap: blocks of errors in units of the window's spread are drawn and added).
"""
# B items, C channels, L steps of the window, S steps that the graph tells at once, H steps asked for, P courses

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from pydantic import BaseModel, Field

from enfold.errors import BundleInvalid, TooLarge, WrongUse
from enfold.modalities import Arrays, Sample, Spec
from enfold.modalities.series import Signal, following
from enfold.resources import resource
from enfold.tasks import Graphs, Prepared, Task

LONGEST = 10_000  # steps
MOST_VALUES = 20_000  # steps x channels: of one request's work, some ten seconds
_COURSES = 100
_LEAST_SPREAD = 1e-3  # of a window, in spreads of all that was sent: a still window errs as if it moved so much
_FARTHEST = 1e6  # such spreads: a course that runs away is held there, and stays a number


class ForecastSpec(Spec):
    graph: str  # series, measured [B, C, L] -> out_forecast [B, C, S]
    residuals: str | None = None  # inside the bundle: errors on held-out series [R, S] in spreads of their windows


class ForecastOptions(BaseModel, extra="forbid"):
    horizon: int = Field(24, ge=1, le=LONGEST, description="steps after the last")
    quantiles: list[float] = Field(
        [0.1, 0.5, 0.9], max_length=19, description="which are told of each step, from 0.01 to 0.99; none is quicker"
    )


class Course(BaseModel):
    channel: str | None = Field(description="its name in the item")
    forecast: list[float] = Field(description="one value a step, in the item's unit")
    quantiles: dict[str, list[float]] = Field(description="of each step, by the share that lies below: '0.1', …")


class ForecastAnswer(BaseModel):
    times: list[str] | list[float] | None = Field(description="of the steps; none where the item has no even times")
    courses: list[Course] = Field(description="one a channel")


class Forecast(Task[ForecastAnswer]):
    name, modality = "forecast", "series"
    Spec, Options, Answer = ForecastSpec, ForecastOptions, ForecastAnswer
    encodes = False

    def run(self, graphs: Graphs, prepared: Prepared, options: ForecastOptions) -> list[ForecastAnswer]:
        if wrong := [share for share in options.quantiles if not 0.01 <= share <= 0.99]:
            raise WrongUse(f"option 'quantiles' has {wrong[0]:g}: each is a share from 0.01 to 0.99")
        if options.quantiles and self._residuals is None:
            raise WrongUse("this model knows no errors to make ranges of: set option 'quantiles' to []")
        return [self._answer(graphs, samples[-1], options) for samples in prepared.samples]

    def measure(self, answers: Sequence[ForecastAnswer], truth: Sequence[Signal]) -> dict[str, float]:
        """Errors over all steps that were measured, and how many lie within the outermost quantiles.

        truth   what came after each item, in its unit
        """
        squared, absolute, inside = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        for answer, actual in zip(answers, truth, strict=True):
            for course, values in zip(answer.courses, actual.values.T, strict=True):
                count = min(len(values), len(course.forecast))
                known = ~np.isnan(values[:count])
                apart = np.array(course.forecast[:count])[known] - values[:count][known]
                squared.append(apart**2)
                absolute.append(np.abs(apart))
                if len(course.quantiles) > 1:
                    shares = sorted(course.quantiles, key=float)
                    low, high = (np.array(course.quantiles[share][:count])[known] for share in (shares[0], shares[-1]))
                    inside.append((low <= values[:count][known]) & (values[:count][known] <= high))
        figures = {"mse": np.concatenate(squared).mean(), "mae": np.concatenate(absolute).mean()}
        if inside:
            figures["coverage"] = np.concatenate(inside).mean()
        return {name: float(value) for name, value in figures.items()}

    def _answer(self, graphs: Graphs, sample: Sample, options: ForecastOptions) -> ForecastAnswer:
        horizon, origin, channels = options.horizon, sample.origin, len(sample.arrays["series"])
        if horizon * channels > MOST_VALUES:
            raise TooLarge(
                f"{horizon:,} steps of {channels:,} channels are {horizon * channels:,} values; at most "
                f"{MOST_VALUES:,}: ask for fewer steps, or send fewer channels"
            )

        def unit(told: np.ndarray) -> np.ndarray:
            """[…, C, H] as the item has it."""
            found: np.ndarray = told.astype(np.float64) * origin["spread"][:, None] + origin["mean"][:, None]
            return found

        window = {name: values[None] for name, values in sample.arrays.items()}
        told = unit(rolled(graphs, self.spec.graph, window, horizon)[0])
        ranges: dict[str, np.ndarray] = {}
        if options.quantiles:
            many = {name: np.repeat(values, _COURSES, 0) for name, values in window.items()}
            courses = unit(rolled(graphs, self.spec.graph, many, horizon, self._errors(window)))
            shares = sorted(set(options.quantiles))
            ranges = {f"{share:g}": at for share, at in zip(shares, np.quantile(courses, shares, 0), strict=True)}
        names = origin["channels"] or [None] * channels
        return ForecastAnswer(
            times=following(origin["times"], horizon),
            courses=[
                Course(
                    channel=name,
                    forecast=told[number].tolist(),
                    quantiles={share: values[number].tolist() for share, values in ranges.items()},
                )
                for number, name in enumerate(names)
            ],
        )

    def _errors(self, window: Arrays) -> Callable[[], np.ndarray]:
        """What draws the errors of the next S steps of every course, [P, C, S]; the same for the same window."""
        rng, residuals = np.random.default_rng(0), self._residuals
        assert residuals is not None
        spread = spread_of(window)[0, :, None]  # [C, 1]
        return lambda: residuals[rng.integers(len(residuals), size=(_COURSES, len(spread)))] * spread

    @cached_property
    def _residuals(self) -> np.ndarray | None:
        """[R, S]"""
        if self.spec.residuals is None:
            return None
        with resource(self.folder, self.spec.residuals) as path:
            found: np.ndarray = np.load(path, allow_pickle=False)
            return found


def rolled(
    graphs: Graphs, graph: str, window: Arrays, horizon: int, errors: Callable[[], np.ndarray] | None = None
) -> np.ndarray:
    """The next `horizon` steps of windows [B, C, L], in their unit, [B, C, H].

    errors   draws what is added to the steps that are told at once, [B, C, S]
    """
    series, measured, told, made = window["series"], window["measured"], list[np.ndarray](), 0
    while made < horizon:
        ahead = graphs(graph, {"series": series, "measured": measured})["out_forecast"]
        if ahead.shape[2] < 1:
            raise BundleInvalid(f"graph '{graph}' tells no step: a forecast would never end, export it again")
        if errors is not None:
            ahead = (ahead + errors()).astype(np.float32)
        ahead = np.clip(ahead, -_FARTHEST, _FARTHEST)
        told.append(ahead)
        made += ahead.shape[2]
        series = np.concatenate([series, ahead], 2)[:, :, -series.shape[2] :]
        measured = np.concatenate([measured, np.ones_like(ahead)], 2)[:, :, -measured.shape[2] :]
    return np.concatenate(told, 2)[:, :, :horizon]


def spread_of(window: Arrays) -> np.ndarray:
    """How much each channel of windows [B, C, L] moves, [B, C]: the unit of their errors."""
    count = np.maximum(window["measured"].sum(2), 1)
    mean = window["series"].sum(2) / count  # what is missing is 0
    apart = (window["series"] - mean[..., None]) ** 2 * window["measured"]
    found: np.ndarray = np.maximum(np.sqrt(apart.sum(2) / count), _LEAST_SPREAD)
    return found
