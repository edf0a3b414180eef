"""Home: what the server holds, and one box that searches all of it."""

from typing import Any

import streamlit as st

from app import cards, items, server
from enfold import modalities, wire

BEST = 6  # hits shown of each collection
SEARCHED = 6  # collections at most, largest first

st.title("enfold")
with server.told():
    models = server.client().models()
    collections = sorted((wire.CollectionInfo(**row) for row in server.collections()), key=lambda one: -one.points)
    ready = server.client().ready()
spaces = {entry.space for model in models for entry in model.entries.values()}
figures = {
    "Models": len(models),
    "Spaces": len(spaces | {one.space for one in collections}),
    "Collections": len(collections),
    "Vectors": sum(one.points for one in collections),
}
for column, (name, count) in zip(st.columns(4), figures.items(), strict=True):
    column.metric(name, f"{count:,}")
if not ready:
    st.warning("The server is not ready: a model is still being loaded, or failed its check (GET /readyz).")


def asked() -> tuple[Any, list[str], str]:
    """What to look for, the modalities that it may be of, and its file's name."""
    left, right = st.columns(2)
    words = left.text_input("Search everything", placeholder="type what it is about")
    dropped = right.file_uploader("… or drop a file of any kind")
    if dropped is not None:
        return dropped.getvalue(), modalities.takers(dropped.name), dropped.name
    return (words, ["text"], "") if words else (None, [], "")


item, kinds, file = asked()
if item is not None:
    doors = [(one, server.searched_by(one, models).values()) for one in collections if one.points]
    fitting = [(one, [ask for kind in kinds for ask in asks if ask["modality"] == kind]) for one, asks in doors]
    searched = [(one, fit[0]) for one, fit in fitting if fit][:SEARCHED]
    if isinstance(item, bytes) and searched:
        items.draw(searched[0][1]["modality"], item, file)  # a sound plays by its name
    if not searched:
        st.info(f"No collection here is searched by {' or '.join(kinds) or 'a file of this kind'}.")
    for one, ask in searched:
        st.subheader(one.name)
        with server.told():
            found = server.client().search(one.name, item=item, limit=BEST, **ask)
        cards.grid(one.name, [hit.model_dump() for hit in found.hits])
    st.stop()
st.subheader("Collections")
if not collections:
    st.info("There is none yet. Fill one: enfold embed SOURCE --model NAME --to index://NAME")
for one in collections:
    title, facts, search, about = st.columns([2, 4, 1, 1], vertical_alignment="center")
    title.markdown(f"**{one.name}**")
    facts.caption(f"{one.points:,} vectors of {one.dimensions} numbers, {one.modality}, by {one.model}")
    search.page_link("screens/search.py", label="search", query_params={"collection": one.name})
    if one.has_layout:
        about.page_link("screens/map.py", label="map", query_params={"collection": one.name})
st.subheader("Models")
st.dataframe(
    [
        {
            "model": f"{model.name}@{model.version}",
            "items": ", ".join(dict.fromkeys(entry.modality for entry in model.entries.values())),
            "method": model.method or "imported",
            "tasks": ", ".join(model.tasks),
            "loaded": model.loaded,
            "runtime": model.runtime,
        }
        for model in models
    ],
    hide_index=True,
)
