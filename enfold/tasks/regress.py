"""regress: measured values of an item, such as a boiling point, each with the interval in which it is likely to lie.

Intervals are as wide as errors on held-out items were (split conformal prediction; Lei et al. 2018, "Distribution-Free
Predictive Inference for Regression"): of items like those, as many as asked for lie inside.
"""
# B items, K values

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, Field

from enfold.modalities import Spec
from enfold.tasks import Graphs, Prepared, Task

PERCENT = tuple(range(50, 100))  # of held-out items, whose errors are kept

_LEAST_VARIANCE = 1e-12


class RegressSpec(Spec):
    names: tuple[str, ...]
    units: tuple[str, ...]
    head: str  # the graph: out_embedding [B, D] -> out_regress [B, K]
    errors: tuple[tuple[float, ...], ...]  # of each value: within which so many percent of held-out items lay


class RegressOptions(BaseModel, extra="forbid"):
    coverage: float = Field(0.8, ge=0.5, le=0.99, description="probability that a value lies in its interval")


class Regressed(BaseModel):
    name: str
    value: float
    unit: str
    low: float = Field(description="lower end of the interval")
    high: float = Field(description="upper end of the interval")


class RegressAnswer(BaseModel):
    values: list[Regressed]
    coverage: float = Field(description="of each interval")


class Regress(Task[RegressAnswer]):
    name = "regress"
    Spec, Options, Answer = RegressSpec, RegressOptions, RegressAnswer

    def run(self, graphs: Graphs, prepared: Prepared, options: RegressOptions) -> list[RegressAnswer]:
        told = graphs(self.spec.head, {"embedding": prepared.encoded["out_embedding"]})["out_regress"]
        apart = [errors[round(100 * options.coverage) - PERCENT[0]] for errors in self.spec.errors]
        return [
            RegressAnswer(
                values=[
                    Regressed(name=name, value=value, unit=unit, low=value - far, high=value + far)
                    for name, unit, value, far in zip(self.spec.names, self.spec.units, row, apart, strict=True)
                ],
                coverage=options.coverage,
            )
            for row in told.astype(float).tolist()
        ]

    def measure(self, answers: Sequence[RegressAnswer], truth: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Of each value: rmse, mae, r2 and the share inside the intervals, over the items that have it; their means.

        truth   name -> value of each item, of those that are known
        """
        figures: dict[str, float] = {}
        for place, name in enumerate(self.spec.names):
            told = [
                (answer.values[place], one[name]) for answer, one in zip(answers, truth, strict=True) if name in one
            ]
            actual = np.array([value for _, value in told])
            apart = np.array([one.value for one, _ in told]) - actual
            figures |= {
                f"rmse_{name}": float(np.sqrt((apart**2).mean())),
                f"mae_{name}": float(np.abs(apart).mean()),
                f"r2_{name}": float(1 - (apart**2).mean() / max(actual.var(), _LEAST_VARIANCE)),
                f"coverage_{name}": float(np.mean([one.low <= value <= one.high for one, value in told])),
            }
        kinds = ("rmse", "mae", "r2", "coverage")
        return {
            kind: float(np.mean([figures[f"{kind}_{name}"] for name in self.spec.names])) for kind in kinds
        } | figures


def error_quantiles(apart: np.ndarray) -> tuple[float, ...]:
    """Of absolute errors [N] those that PERCENT of held-out items lie within, one item more counted as the farthest."""
    ranks = np.ceil((len(apart) + 1) * np.array(PERCENT) / 100).astype(int)
    found: list[float] = np.sort(apart)[np.minimum(ranks, len(apart)) - 1].tolist()
    return tuple(found)
