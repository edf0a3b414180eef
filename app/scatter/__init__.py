"""The map's scatter plot: up to a million points on the browser's graphics card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from app.map_points import Drawn

_HERE = Path(__file__).parent
_component = st.components.v2.component(
    "enfold_scatter",
    html=(_HERE / "scatter.html").read_text(),
    css=(_HERE / "scatter.css").read_text(),
    js=(_HERE / "scatter.js").read_text(),
)

Polygon = list[list[float]]


@dataclass(frozen=True)
class Seen:
    """What the reader did.

    lasso     [[x, y], ...] in the map's -1 to 1, or None
    view      (zoom, x, y) of the camera, or None as long as nobody moved it
    chosen    values picked in the legend, as indices
    pointed   the row under the pointer, if it just came to rest
    """

    lasso: Polygon | None
    view: list[float] | None
    chosen: list[int]
    pointed: int | None


def scatter(drawn: Drawn, *, found: Sequence[int], lasso: Polygon | None, view: list[float] | None) -> Seen:
    """Draw the points, with circles round the rows `found`; `lasso` and `view` are where a reader begins."""
    data: dict[str, Any] = {
        "points": drawn.points,
        "version": drawn.version,
        "values": drawn.values,
        "labels": drawn.labels,
        "found": list(found),
        "lasso": lasso,
        "view": view,
    }
    said = _component(
        key=f"scatter-{drawn.version}",
        data=data,
        default={"lasso": lasso, "view": view, "chosen": []},
        on_lasso_change=_heard,
        on_view_change=_heard,
        on_chosen_change=_heard,
        on_pointed_change=_heard,
    )
    return Seen(said.lasso, said.view, said.chosen, said.pointed)


def _heard() -> None:
    """Streamlit keeps a component's state only where somebody listens."""
