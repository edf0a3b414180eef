"""Search: an item, a text or a point in, the nearest points out."""

from typing import Any

import streamlit as st

from app import cards, items, server
from app.choice import chosen
from enfold import wire

st.title("Search")
info = server.choose_collection()
with server.told():
    kinds = server.searched_by(info, server.client().models())
kind = kinds[chosen("Look for it by", list(kinds), "by") if len(kinds) > 1 else next(iter(kinds))]
limit = st.sidebar.slider("Results", 6, 60, 18, step=6)


def query() -> dict[str, Any]:
    """What to look for: a dropped item, typed text, or the point that the URL names."""
    item = items.given(kind["modality"])
    if item is not None:
        return {"item": item, **kind}
    return {"id": st.query_params["id"]} if "id" in st.query_params else {}


def conditions() -> list[dict[str, Any]]:
    """Filters on the label, as the sidebar has them."""
    with server.told():
        labels = server.facets(info.name, "label", info.points)
    chosen = st.sidebar.multiselect("Only these labels", labels) if labels else []
    return [wire.Condition(field="label", any=chosen).model_dump()] if chosen else []


wanted, only = query(), conditions()
if not wanted:
    st.info("Drop an item, or follow 'similar' under a picture of the map.")
    st.stop()
with server.told():
    found = server.client().search(info.name, limit=limit, filter=only, **wanted)
st.caption(
    f"{len(found.hits)} of {info.points:,} points of {found.model}, space {found.space}, {found.milliseconds:.1f} ms"
)
cards.grid(info.name, [hit.model_dump() for hit in found.hits])
