"""Items as a person takes them in: heard, watched, read, leafed through, or turned about."""

import io
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app.plain import plain
from enfold import modalities
from enfold.errors import BadItem, MissingExtra
from enfold.modalities.graph import Network, layout
from enfold.modalities.molecule import Structure, drawing, shade
from enfold.modalities.protein import COLOUR_OF, Chain
from enfold.modalities.radiance import Grid
from enfold.modalities.series import Signal
from enfold.modalities.splats import COLUMNS, SHADE
from enfold.modalities.volume import Voxels

DOTS = 20_000  # that a browser turns smoothly
SEEN = 0.05  # opacity, below which a splat or a voxel is air
STEPS = 5_000  # of a drawn course
RESIDUES = 5_000  # of a drawn chain
_PIXELS = 360


def given(modality: str) -> str | bytes | None:
    """What a person types or drops, drawn; None if that is nothing yet."""
    if modalities.get(modality).written and (
        typed := st.text_area(modality.capitalize(), placeholder=f"type or paste a {modality}")
    ):
        return typed
    suffixes = [suffix.removeprefix(".") for suffix in modalities.suffixes(modality)]
    dropped = st.file_uploader(f"Drop a file: {modality}", type=suffixes)
    if dropped is None:
        return None
    content: bytes = dropped.getvalue()
    with st.columns(2)[0]:  # what it is asked for stays in sight
        draw(modality, content, dropped.name)
    return content


def draw(modality: str, content: bytes, name: str = "") -> None:
    """An item of any kind, by the bytes of its file (its name says of which of several formats).

    What cannot be read here is told in a sentence; the server tells of a bad item by itself.
    """
    kind = modalities.get(modality)
    media = next((media for suffix, media in kind.media_types.items() if name.lower().endswith(suffix)), "")
    if media in PLAYED:
        (st.audio if modality == "audio" else st.video)(io.BytesIO(content), format=media)
        return
    reader = kind(None)
    try:
        value = reader.read(content)
        DRAWN.get(modality, lambda one: st.image(reader.thumbnail(one, _PIXELS)))(value)
    except (BadItem, MissingExtra) as error:
        st.caption(plain(error))


def writing(value: str) -> None:
    with st.container(height=_PIXELS):
        st.text(value)


def row(value: dict[str, Any]) -> None:
    st.dataframe([{"column": name, "value": str(cell)} for name, cell in value.items()], hide_index=True)


def course(value: Signal) -> None:
    """Each channel over time; of a long one every so many steps."""
    every = -(-len(value.values) // STEPS)
    steps = np.arange(len(value.values)) if value.times is None else value.times
    drawn = go.Figure()
    for number, column in enumerate(value.values.T):
        name = value.channels[number] if value.channels else f"channel {number + 1}"
        drawn.add_trace(go.Scatter(x=steps[::every], y=column[::every], mode="lines", name=name))
    drawn.update_layout(height=_PIXELS, margin={"l": 0, "r": 0, "t": 16, "b": 0})
    st.plotly_chart(drawn)


def chain(value: Chain) -> None:
    """Its residues in the colours of their groups, and its course in space where that is known."""
    residues(value.sequence, [COLOUR_OF[letter] for letter in value.sequence])
    if value.coordinates is not None:
        x, y, z = value.coordinates.T
        line = {"color": list(range(len(x))), "colorscale": "Turbo", "width": 6}
        _in_space(go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, text=list(value.sequence)))


def residues(sequence: str, colours: Sequence[str]) -> None:
    """Letters on their colours; of a very long chain the beginning."""
    runs = groupby(zip(sequence[:RESIDUES], colours, strict=False), key=lambda pair: pair[1])
    spans = [
        f'<span style="background:{colour};color:#222">{"".join(letter for letter, _ in run)}</span>'
        for colour, run in runs
    ]
    st.html(f'<div style="font-family:monospace;word-break:break-all">{"".join(spans)}</div>')
    if len(sequence) > RESIDUES:
        st.caption(f"the first {RESIDUES:,} of {len(sequence):,} residues")


def molecule(value: Structure) -> None:
    """Its formula, and its atoms and bonds in space where they are known."""
    st.image(drawing(value, 2 * _PIXELS), width=_PIXELS, caption=value.smiles)
    if value.places is not None:
        x, y, z = value.places.T
        ends = [[*value.places[pair], (np.nan,) * 3] for pair in value.bonds[:, :2]]
        lines = np.array(ends, float).reshape(-1, 3).T  # NaN lifts the pen
        ink = [shade(number) for number in value.atoms[:, 0].tolist()]
        bonds = go.Scatter3d(x=lines[0], y=lines[1], z=lines[2], mode="lines", line={"color": "#909090", "width": 6})
        atoms = go.Scatter3d(x=x, y=y, z=z, mode="markers", marker={"size": 8, "color": ink})
        _in_space(bonds, atoms)


def network(value: Network) -> None:
    """Nodes where forces put them, the centre red; their names and texts under the pointer."""
    shown, places = layout(value)
    ends = [[*places[pair], (None, None)] for pair in shown.edges]
    lines = np.array(ends, float).reshape(-1, 2)  # NaN lifts the pen
    told = (
        shown.names if shown.texts is None else [": ".join(pair) for pair in zip(shown.names, shown.texts, strict=True)]
    )
    ink = ["#c83c32" if node == shown.centre else "#325aa0" for node in range(len(places))]
    drawn = go.Figure(
        go.Scatter(x=lines[:, 0], y=lines[:, 1], mode="lines", line={"color": "#c0c8d0"}, hoverinfo="skip")
    )
    drawn.add_trace(go.Scatter(x=places[:, 0], y=places[:, 1], mode="markers", marker={"color": ink}, hovertext=told))
    drawn.update_layout(height=_PIXELS, margin={"l": 0, "r": 0, "t": 0, "b": 0}, showlegend=False)
    drawn.update_xaxes(visible=False)
    drawn.update_yaxes(visible=False)
    st.plotly_chart(drawn)
    if len(places) < len(value.names):
        st.markdown(f"The {len(places)} nodes nearest to the middle, of {len(value.names):,}")


def cloud(value: np.ndarray) -> None:
    """Points, coloured by height."""
    shown = _some(value)
    _turned(shown, {"color": shown[:, 2], "colorscale": "Viridis"})


def splats(value: np.ndarray) -> None:
    """The centres of what can be seen, in their colours."""
    shown = _some(value[value[:, COLUMNS["opacity"]][:, 0] > SEEN])
    _turned(shown[:, COLUMNS["xyz"]], {"color": _shades(shown[:, COLUMNS["sh"]] * SHADE + 0.5)})


def field(value: Grid) -> None:
    """Voxels that light does not pass, in their colours."""
    steps = value.extent / value.density.shape
    place = np.argwhere(1 - np.exp(-value.density * steps.mean()) > SEEN)
    shown = _some(place)
    _turned(value.bounds[0] + (shown + 0.5) * steps, {"color": _shades(value.rgb[tuple(shown.T)])})


def scan(value: Voxels) -> None:
    """Slices across each axis, to be leafed through."""
    low, high = np.percentile(value.values, [1, 99])
    for column, axis, across in zip(st.columns(3), range(3), value.values.shape, strict=True):
        at = column.slider("xyz"[axis], 0, max(1, across - 1), across // 2, label_visibility="collapsed")
        shades = (value.values.take(min(at, across - 1), axis=axis) - low) / max(high - low, 1e-12)
        column.image(np.rot90((np.clip(shades, 0, 1) * 255).astype(np.uint8)), width="stretch")


def _some(rows: np.ndarray) -> np.ndarray:
    """At most DOTS of them, evenly chosen."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), DOTS)).astype(int)] if len(rows) else rows


def _shades(colours: np.ndarray) -> list[str]:
    return [f"rgb({r},{g},{b})" for r, g, b in (np.clip(colours, 0, 1) * 255).astype(int)]


def _turned(places: np.ndarray, marker: dict[str, Any]) -> None:
    x, y, z = places.T
    _in_space(go.Scatter3d(x=x, y=y, z=z, mode="markers", marker={"size": 2, **marker}))


def _in_space(*shapes: go.Scatter3d) -> None:
    drawn = go.Figure(shapes)
    drawn.update_layout(height=_PIXELS, margin={"l": 0, "r": 0, "t": 0, "b": 0}, scene={"aspectmode": "data"})
    drawn.update_layout(showlegend=False)
    st.plotly_chart(drawn)


DRAWN: dict[str, Callable[[Any], None]] = {
    "graph": network,
    "molecule": molecule,
    "points": cloud,
    "protein": chain,
    "radiance": field,
    "series": course,
    "splats": splats,
    "table": row,
    "text": writing,
    "volume": scan,
}
PLAYED = ("audio/wav", "audio/flac", "audio/ogg", "audio/mpeg", "video/mp4", "video/webm")  # by every browser
