"""Item: one point of a collection as its source has it, what is known of it, and what lies nearest."""

import streamlit as st

from app import cards, items, server
from app.plain import plain

NEAREST = 6

info = server.choose_collection()
id = st.query_params.get("id", "")
with server.told():
    point = server.client().point(info.name, id)
    near = server.client().search(info.name, id=id, limit=NEAREST + 1)
st.title(plain(cards.title(point.payload) or id))
left, right = st.columns([2, 1])
with left:
    content = server.original(info.name, id)
    if isinstance(content, bytes):
        items.draw(info.modality, content, str(point.payload.get("item", "")))
    else:
        if picture := server.thumbnail(info.name, id):
            st.image(picture)
        st.caption(plain(content))
right.dataframe([{"field": name, "value": str(value)} for name, value in point.payload.items()], hide_index=True)
st.subheader("Nearest")
cards.grid(info.name, [hit.model_dump() for hit in near.hits if hit.id != id][:NEAREST])
