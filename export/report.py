"""What the gate found: one record per figure, readable by people and by `enfold bundle show`."""

import math
from collections.abc import Sequence
from typing import Literal

from enfold.modalities import Spec


class Check(Spec):
    """One figure against its limit."""

    name: str
    variant: str
    figure: float | None  # None: it could not be measured, and `note` says why
    relation: Literal["≥", "≤"]
    limit: float
    n: int  # items it was measured on
    passed: bool
    note: str = ""

    def __str__(self) -> str:
        if self.figure is None:
            return f"{self.name}: {self.note}"
        return f"{self.name} is {self.figure:.7g}, {self.relation} {self.limit:g} needed ({self.n:,} items)"


def at_least(limit: float, name: str, variant: str, figure: float, n: int) -> Check:
    return _check("≥", limit, name, variant, figure, n)


def at_most(limit: float, name: str, variant: str, figure: float, n: int) -> Check:
    return _check("≤", limit, name, variant, figure, n)


def impossible(name: str, variant: str, n: int, why: str) -> Check:
    """A check that could not be made, which is a refusal."""
    return Check(name=name, variant=variant, figure=None, relation="≥", limit=1, n=n, passed=False, note=why)


def _check(relation: Literal["≥", "≤"], limit: float, name: str, variant: str, figure: float, n: int) -> Check:
    if not math.isfinite(figure):
        return impossible(name, variant, n, "not a number")
    passed = figure >= limit if relation == "≥" else figure <= limit
    return Check(name=name, variant=variant, figure=figure, relation=relation, limit=limit, n=n, passed=passed)


class Report(Spec):
    """Every check of one export. A variant with a failed check was not published."""

    data: str
    data_fingerprint: str
    items: int  # distinct
    checks: tuple[Check, ...]
    items_per_second: dict[str, float]  # of each variant that ran, in this process
    megabytes: dict[str, float] = {}  # of its encoder graph
    dropped: dict[str, str] = {}  # variant -> why

    def failures(self, variant: str) -> list[Check]:
        return [check for check in self.checks if check.variant == variant and not check.passed]

    def worst(self, name: str, variant: str = "fp32") -> float:
        """The lowest figure of the checks whose name holds these words."""
        figures = [c.figure for c in self.checks if name in c.name and c.variant == variant]
        return min(figure for figure in figures if figure is not None)


def joined(reports: Sequence[Report]) -> Report:
    """The reports of a bundle's sizes as one: every check, and the speed of the last size."""
    last = reports[-1]
    return last.model_copy(update={"checks": tuple(check for report in reports for check in report.checks)})
