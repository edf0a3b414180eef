"""Map: every point of a collection in two dimensions; a lasso brings out what lies inside."""

from itertools import cycle
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from plotly.colors import qualitative

from app import cards, server

MOST_COLOURS = len(qualitative.Dark24)  # values of a field that still get a colour each
SHOWN = 60  # cards of a selection
HEIGHT = 640  # pixels of the map
_POSITIONS = {"id", "x", "y"}

st.title("Map")
info = server.choose_collection()
if not info.has_layout:
    st.info(f"'{info.name}' has no layout yet: enfold index layout {info.name}")
    st.stop()
with server.told():
    points = server.layout(info.name, info.points)


def coloured_by() -> tuple[str | None, np.ndarray]:
    """The payload field that colours the points, and its value for each."""
    fields = [name for name in points.column_names if name not in _POSITIONS]
    few = [name for name in fields if 1 < len(points[name].unique()) <= MOST_COLOURS]
    field = st.sidebar.selectbox("Colour by", few, index=few.index("label") if "label" in few else 0) if few else None
    values = points[field].to_numpy(zero_copy_only=False).astype(str) if field else np.full(len(points), "point")
    return field, values


def figure(values: np.ndarray) -> go.Figure:
    """One WebGL trace per value; customdata is the row, so that a selection names its points."""
    x, y = (points[name].to_numpy() for name in ("x", "y"))
    titles = points["title" if "title" in points.column_names else "item"].to_numpy(zero_copy_only=False).astype(str)
    drawn = go.Figure()
    for value, colour in zip(np.unique(values), cycle(qualitative.Dark24), strict=False):
        rows = np.flatnonzero(values == value)
        drawn.add_trace(
            go.Scattergl(
                x=x[rows],
                y=y[rows],
                customdata=rows,
                text=titles[rows],
                hoverinfo="text+name",
                name=value,
                mode="markers",
                marker={"size": 5, "opacity": 0.75, "color": colour},
            )
        )
    drawn.update_layout(
        height=HEIGHT,
        margin={"l": 0, "r": 0, "t": 32, "b": 0},
        legend={"orientation": "h"},
        dragmode="lasso",
        uirevision=info.name,
    )
    drawn.update_xaxes(visible=False)
    drawn.update_yaxes(visible=False, scaleanchor="x")
    return drawn


def selected(event: Any) -> np.ndarray:
    """Rows inside the lasso, box or click."""
    return np.array([int(np.ravel(point["customdata"])[0]) for point in event.selection.points], int)


field, values = coloured_by()
left, right = st.columns([3, 2])
with left:
    event = st.plotly_chart(figure(values), key="map", on_select="rerun", selection_mode=("lasso", "box", "points"))
    st.caption(f"{len(points):,} points" + (f", coloured by {field}" if field else ""))
rows = selected(event)
with right:
    if len(rows) == 0:
        st.info("Draw a lasso around points to see them.")
        st.stop()
    chosen = points.take(rows)
    st.subheader(f"{len(rows):,} selected" + (f", the first {SHOWN} shown" if len(rows) > SHOWN else ""))
    ids = "\n".join(["id", *chosen["id"].to_pylist()])
    st.download_button("Download ids (CSV)", ids, file_name=f"{info.name}.csv")
    shown = [
        {"id": row["id"], "payload": {key: value for key, value in row.items() if key not in _POSITIONS}}
        for row in chosen.slice(0, SHOWN).to_pylist()
    ]
    with st.container(height=HEIGHT - 120):
        cards.grid(info.name, shown, columns=3)
