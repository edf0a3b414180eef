"""Points drawn as cards: picture, title, score, and links to the item and to more like it."""

from typing import Any

import streamlit as st

from app import server
from app.plain import plain


def grid(collection: str, points: list[dict[str, Any]], columns: int = 6) -> None:
    """Cards of points {id, payload, score?, note?}, so many in a row."""
    for at in range(0, len(points), columns):
        for column, point in zip(st.columns(columns), points[at : at + columns], strict=False):
            with column.container(border=True):
                _card(collection, point)


def _card(collection: str, point: dict[str, Any]) -> None:
    payload = point["payload"]
    if picture := server.thumbnail(collection, point["id"]):
        st.image(picture, width="stretch")
    st.caption(plain(title(payload)))
    facts = [str(payload["label"])] if payload.get("label") is not None else []
    facts += [f"{point['score']:.3f}"] if point.get("score") is not None else []
    facts += [point["note"]] if point.get("note") else []
    st.text(" · ".join(facts))
    here = {"collection": collection, "id": point["id"]}
    with st.container(horizontal=True):
        st.page_link("screens/search.py", label="similar", query_params=here)
        st.page_link("screens/item.py", label="open", query_params=here)


def title(payload: dict[str, Any]) -> str:
    """What a person calls the item: its title, else its name in the source."""
    return str(payload.get("title") or payload.get("item") or "")
