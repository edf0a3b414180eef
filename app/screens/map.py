"""Map: every point of a collection in two dimensions; a lasso brings out what lies inside."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from app import cards, items, map_points, server
from app.choice import chosen
from app.map_points import POSITIONS, Drawn
from app.scatter import Polygon, scatter

SHOWN = 60  # cards of a selection
MOST_CORNERS = 60  # of a lasso in the address
MARKED = 50  # points that a search circles

st.title("Map")
info = server.choose_collection()
if not info.has_layout:
    st.info(f"'{info.name}' has no layout yet: enfold index layout {info.name}")
    st.stop()
with server.told():
    points = server.layout(info.name, info.points)
if not len(points):
    st.info(f"'{info.name}' has no points: enfold embed SOURCE --model NAME --to index://{info.name}")
    st.stop()
if st.session_state.setdefault("mapped", info.name) != info.name:  # lasso and camera are of the map that was left
    st.session_state["mapped"] = info.name
    for name in ("lasso", "view"):
        st.query_params.pop(name, None)


@st.cache_resource(ttl=600, max_entries=6, show_spinner="Drawing the map")
def drawn_by(collection: str, count: int, field: str | None, _points: pa.Table) -> Drawn:
    return map_points.draw(_points, field)


@st.cache_resource(ttl=600, max_entries=6, show_spinner=False)
def fields(collection: str, count: int, _points: pa.Table) -> list[str]:
    """What can colour the map, a label first."""
    return sorted(map_points.fields(_points), key=lambda name: (name != "label", name))


def numbers(name: str) -> list[float] | None:
    """A list of numbers from the address; what is none of our making counts as absent."""
    try:
        found = [float(number) for number in st.query_params[name].split(",")]
    except (KeyError, ValueError):
        return None
    return found if np.isfinite(found).all() else None


def from_link() -> tuple[Polygon | None, list[float] | None]:
    flat, view = numbers("lasso"), numbers("view")
    lasso = [list(pair) for pair in zip(flat[::2], flat[1::2], strict=False)] if flat and len(flat) >= 6 else None
    return lasso, view if view and len(view) == 3 and view[0] > 0 else None


def keep(lasso: Polygon | None, view: list[float] | None) -> None:
    """In the address, so that a link brings back what is seen."""
    thinned = lasso[:: max(1, -(-len(lasso) // MOST_CORNERS))] if lasso else None
    for name, kept in (("lasso", np.ravel(thinned) if thinned else None), ("view", view)):
        if kept is not None:
            st.query_params[name] = ",".join(f"{number:.3f}" for number in kept)
        else:
            st.query_params.pop(name, None)


def found() -> list[int]:
    """Rows of the points nearest to what the reader looks for."""
    with st.sidebar:
        with server.told():
            kinds = server.searched_by(info, server.client().models())
        kind = kinds[chosen("Find on the map by", list(kinds), "by") if len(kinds) > 1 else next(iter(kinds))]
        wanted = items.given(kind["modality"])
    if wanted is None:
        return []
    with server.told():
        hits = server.client().search(info.name, item=wanted, limit=MARKED, **kind).hits
    st.sidebar.caption(f"{len(hits)} nearest points are circled")
    rows = pc.index_in(pa.array([hit.id for hit in hits]), value_set=points["id"].combine_chunks())
    return [row for row in rows.to_pylist() if row is not None]


def card(rows: np.ndarray) -> list[dict[str, Any]]:
    """Points as cards have them."""
    chosen_points = points.take(rows).to_pylist()
    payloads = ({key: value for key, value in row.items() if key not in POSITIONS} for row in chosen_points)
    return [{"id": row["id"], "payload": one} for row, one in zip(chosen_points, payloads, strict=True)]


def saved() -> None:
    """Links to views that were saved, and a box to save this one."""
    with st.sidebar.expander("Saved views"), server.told():
        for one in server.client().views(info.name):
            st.page_link("screens/map.py", label=one.name, query_params={"collection": info.name, **one.choices})
        with st.form("save", clear_on_submit=True, border=False):
            name = st.text_input("Save this view as", max_chars=80)
            if st.form_submit_button("Save") and name.strip():
                choices = {key: st.query_params[key] for key in ("colour", "lasso", "view") if key in st.query_params}
                server.client().save_view(info.name, name.strip().replace("/", "-"), choices)
                st.rerun()


known = fields(info.name, info.points, points)
field = chosen("Colour by", known, "colour") if known else None
drawn = drawn_by(info.name, info.points, field, points)
left, right = st.columns([3, 2])
with left:
    lasso, view = from_link()
    seen = scatter(drawn, found=found(), lasso=lasso, view=view)
    keep(seen.lasso, seen.view)
    st.caption(f"{len(points):,} points" + (f", coloured by {field}" if field else ""))
saved()
rows = map_points.inside(drawn, seen.lasso)
if seen.chosen:
    values = drawn.points["value"].to_numpy()
    rows = rows[np.isin(values[rows], seen.chosen)] if seen.lasso else np.flatnonzero(np.isin(values, seen.chosen))
with right:
    if seen.pointed is not None and seen.pointed < len(points):
        cards.grid(info.name, card(np.array([seen.pointed])), columns=2)
    if not len(rows):
        st.info("Draw a lasso around points, or pick values under the map, to see them. Rest on a point to see it.")
        st.stop()
    st.subheader(f"{len(rows):,} selected" + (f", the first {SHOWN} shown" if len(rows) > SHOWN else ""))
    if field:
        counts = np.bincount(drawn.points["value"].to_numpy()[rows], minlength=len(drawn.values))
        most = [value for value in np.argsort(-counts)[:6] if counts[value]]
        st.caption(" · ".join(f"{drawn.values[value]['name']} {counts[value]:,}" for value in most))
    ids = pa.concat_arrays([pa.array(["id"]), points["id"].combine_chunks().take(pa.array(rows))])
    st.download_button("Download ids (CSV)", "\n".join(ids.to_pylist()), file_name=f"{info.name}.csv")
    with st.container(height=520):
        cards.grid(info.name, card(rows[:SHOWN]), columns=3)
