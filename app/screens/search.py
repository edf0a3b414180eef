"""Search: an item, a text or a point in, the nearest points out."""

from typing import Any

import streamlit as st

from app import cards, server
from enfold import modalities, wire

st.title("Search")
info = server.choose_collection()
limit = st.sidebar.slider("Results", 6, 60, 18, step=6)


def query() -> dict[str, Any]:
    """What to look for: a dropped item, typed text, or the point that the URL names."""
    if info.modality == "text":
        typed = st.text_input("Text", placeholder="what are you looking for?")
        if typed:
            return {"item": typed, "modality": "text"}
    else:
        suffixes = [suffix.removeprefix(".") for suffix in modalities.suffixes(info.modality)]
        dropped = st.file_uploader(f"Drop a file: {info.modality}", type=suffixes)
        if dropped is not None:
            cards.file(dropped, info.modality)
            return {"item": dropped.getvalue(), "modality": info.modality}
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
