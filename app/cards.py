"""Points drawn as cards: picture, title, score, and links to the item and to more like it."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from app import server

Links = Callable[[dict[str, Any]], list[tuple[str, str, dict[str, str]]]]  # of a point: label, page, its address's part


def grid(collection: str, points: list[dict[str, Any]], columns: int = 6, links: Links | None = None) -> None:
    """Cards of points {id, payload, score?, note?}, so many in a row; they lead to what is similar and to the item."""
    for at in range(0, len(points), columns):
        for column, point in zip(st.columns(columns), points[at : at + columns], strict=False):
            with column.container(border=True):
                _card(collection, point, links(point) if links else _links(collection, point))


def _card(collection: str, point: dict[str, Any], links: list[tuple[str, str, dict[str, str]]]) -> None:
    payload = point["payload"]
    if picture := server.thumbnail(collection, point["id"]):
        st.image(picture, width="stretch")
    st.caption(title(payload))
    facts = [str(payload["label"])] if payload.get("label") is not None else []
    facts += [f"{point['score']:.3f}"] if point.get("score") is not None else []
    facts += [point["note"]] if point.get("note") else []
    st.text(" · ".join(facts))
    with st.container(horizontal=True):
        for label, page, address in links:
            st.page_link(page, label=label, query_params=address)


def _links(collection: str, point: dict[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
    here = {"collection": collection, "id": point["id"]}
    return [("similar", "screens/search.py", here), ("open", "screens/item.py", here)]


def title(payload: dict[str, Any]) -> str:
    """What a person calls the item: its title, else its name in the source."""
    return str(payload.get("title") or payload.get("item") or "")
