"""Data health: copies, labels in doubt and odd ones of a collection, to be looked at and listed; and what covers it."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import streamlit as st
from pyarrow import csv

from app import cards, server

SHOWN = 60  # cards of a list
_FOUND = {"id", "nearest", "likeness", "copy_of", "oddity", "agreement", "suggested", "cover"}

st.title("Data health")
info = server.choose_collection()
if not info.has_health:
    st.info(f"'{info.name}' was not examined yet: enfold index health {info.name}")
    st.stop()
with server.told():
    table = server.health(info.name, info.points)
ids = np.array(table["id"].to_pylist())


def column(name: str) -> np.ndarray:
    """Numbers of every point, NaN where it has none."""
    return np.asarray(table[name].to_numpy(zero_copy_only=False), float)


def download(rows: np.ndarray, name: str) -> None:
    """The whole of a list as a file of ids and items, which `data.exclude` of a recipe takes."""
    content = io.BytesIO()
    csv.write_csv(table.select(["id", "item"]).take(pa.array(rows)), content)
    st.download_button(f"All {len(rows):,} (CSV)", content.getvalue(), f"{info.name}-{name}.csv", key=name)


def points(rows: np.ndarray, notes: list[str]) -> list[dict[str, Any]]:
    """What cards show of rows, each with a note."""
    shown = table.take(pa.array(rows)).to_pylist()
    payloads = [{key: value for key, value in row.items() if key not in _FOUND} for row in shown]
    return [
        {"id": row["id"], "payload": payload, "note": note}
        for row, payload, note in zip(shown, payloads, notes, strict=True)
    ]


def listed(rows: np.ndarray, name: str, note: Callable[[int], str]) -> None:
    """The first points of a list as cards, all of them as a file."""
    download(rows, name)
    cards.grid(info.name, points(rows[:SHOWN], [note(row) for row in rows[:SHOWN]]))


agreement, oddity, cover, likeness = (column(name) for name in ("agreement", "oddity", "cover", "likeness"))
suggested, copy_of = table["suggested"].to_pylist(), table["copy_of"].to_pylist()
copies = np.array([row for row, first in enumerate(copy_of) if first is not None], int)
doubtful = np.flatnonzero(agreement < 0.5)  # what has none is NaN, which is not less
doubtful = doubtful[np.argsort(agreement[doubtful], kind="stable")]
odd = np.argsort(-oddity, kind="stable")[: max(len(ids) // 100, min(len(ids), 12))]
covering = np.flatnonzero(~np.isnan(cover))
covering = covering[np.argsort(cover[covering])]

for_copies, for_labels, for_odd, for_cover = st.tabs(
    [
        f"Copies ({len(copies):,})",
        f"Labels in doubt ({len(doubtful):,})",
        f"Odd ones ({len(odd):,})",
        f"Cover ({len(covering):,})",
    ]
)

with for_copies:
    if len(copies):
        st.caption("Points that are nearly the same as another. Keep one of each group, so that no split holds both.")
        download(copies, "copies")
    else:
        st.success("No two points are that much alike.")
    place = {id: row for row, id in enumerate(ids.tolist())}
    groups: dict[str, list[int]] = {}
    for row in copies[:SHOWN].tolist():
        groups.setdefault(copy_of[row], []).append(row)
    for first, others in groups.items():
        kept = [place[first]] if first in place else []  # which may have been deleted since
        notes = ["kept"] * len(kept) + [f"{likeness[row]:.3f} alike" for row in others]
        with st.container(border=True):
            cards.grid(info.name, points(np.array(kept + others), notes))

with for_labels:
    if np.isnan(agreement).all():
        st.info("No point has a label.")
    else:
        st.caption("Less than half of the ten nearest carry the same label. Look at these first.")
        listed(doubtful, "labels", lambda row: f"or {suggested[row]}?")

with for_odd:
    st.caption("The farthest from their neighbours: damaged, rare, or of something else.")
    listed(odd, "odd", lambda row: f"odder than {oddity[row]:.0%}")

with for_cover:
    st.caption("In this order each point is the farthest from those before it: a small set that leaves no region out.")
    listed(covering, "cover", lambda row: f"{cover[row]:.0f}.")
