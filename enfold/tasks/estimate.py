"""estimate: how many of each of several things are to be expected, with the interval in which each is likely to lie.

A count varies about its rate as a Poisson variable does, or more where held-out items vary more: by a negative binomial
distribution of variance rate + dispersion x rate^2, of which the interval cuts off equal tails.
"""
# B items, K counts, N values that a count may have

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, Field

from enfold.modalities import Spec
from enfold.tasks import Graphs, Prepared, Task

_LEAST_DISPERSION = 1e-9  # below which the distribution is Poisson's


class EstimateSpec(Spec):
    names: tuple[str, ...]
    head: str  # the graph: out_embedding [B, D] -> out_estimate [B, K], log rates
    days: float | None = None  # in which they are counted, from the item's end on
    dispersions: tuple[float, ...] | None = None  # of each, on held-out items; Poisson without


class EstimateOptions(BaseModel, extra="forbid"):
    coverage: float = Field(0.8, ge=0.5, le=0.99, description="probability that a count lies in its interval")


class Estimated(BaseModel):
    name: str
    expected: float
    low: int = Field(description="the interval's least count")
    high: int = Field(description="the interval's greatest count")


class EstimateAnswer(BaseModel):
    estimates: list[Estimated]
    coverage: float = Field(description="of each interval")
    days: float | None = Field(description="in which things are counted, after the last of the item")


class Estimate(Task[EstimateAnswer]):
    name = "estimate"
    Spec, Options, Answer = EstimateSpec, EstimateOptions, EstimateAnswer

    def run(self, graphs: Graphs, prepared: Prepared, options: EstimateOptions) -> list[EstimateAnswer]:
        rates = np.exp(graphs(self.spec.head, {"embedding": prepared.encoded["out_embedding"]})["out_estimate"])
        dispersions = self.spec.dispersions or (0.0,) * len(self.spec.names)
        return [
            EstimateAnswer(
                estimates=[
                    Estimated(name=name, expected=float(rate), low=low, high=high)
                    for name, rate, dispersion in zip(self.spec.names, row, dispersions, strict=True)
                    for low, high in [interval(float(rate), dispersion, options.coverage)]
                ],
                coverage=options.coverage,
                days=self.spec.days,
            )
            for row in rates
        ]

    def measure(self, answers: Sequence[EstimateAnswer], truth: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Of each count: mae, and the share that lies in the intervals; then their means.

        truth   name -> count of each item
        """
        figures: dict[str, float] = {}
        for place, name in enumerate(self.spec.names):
            told = [answer.estimates[place] for answer in answers]
            actual = np.array([one[name] for one in truth])
            apart = np.abs(np.array([one.expected for one in told]) - actual)
            inside = [one.low <= count <= one.high for one, count in zip(told, actual, strict=True)]
            figures |= {f"mae_{name}": float(apart.mean()), f"coverage_{name}": float(np.mean(inside))}
        means = {
            kind: float(np.mean([value for key, value in figures.items() if key.startswith(f"{kind}_")]))
            for kind in ("mae", "coverage")
        }
        return means | figures


def interval(rate: float, dispersion: float, coverage: float) -> tuple[int, int]:
    """Least and greatest count between tails of (1 - coverage) / 2 each."""
    spread = np.sqrt(rate + dispersion * rate**2)
    values = np.arange(int(rate + 40 * spread) + 40)  # tails of a negative binomial are long
    if dispersion < _LEAST_DISPERSION:
        steps, first = np.log(rate) - np.log(values[1:]), -rate  # log of each probability over the one before
    else:
        size = 1 / dispersion
        share = rate / (rate + size)
        steps, first = np.log((values[:-1] + size) / values[1:] * share), size * np.log1p(-share)
    below = np.exp(first + np.concatenate([[0.0], np.cumsum(steps)])).cumsum()  # [N]
    tail = (1 - coverage) / 2
    return int(np.searchsorted(below, tail, side="right")), int(np.searchsorted(below, 1 - tail))


def dispersions(rates: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """By how much counts [N, K] vary more about their rates than Poisson's would, by moments; 0 at least. [K]"""
    beyond = ((counts - rates) ** 2 - rates).sum(0) / (rates**2).sum(0)
    found: np.ndarray = np.maximum(beyond, 0.0)
    return found
