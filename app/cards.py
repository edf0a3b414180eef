"""Points drawn as cards: picture, title, score, and links to the item and to more like it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import streamlit as st

from app import server
from app.plain import plain


class Link(NamedTuple):
    label: str
    page: str
    address: dict[str, str]  # its parameters
    help: str | None = None


def grid(
    collection: str,
    points: list[dict[str, Any]],
    columns: int = 6,
    links: Callable[[dict[str, Any]], list[Link]] | None = None,
) -> None:
    """Cards of points {id, payload, score?, note?}, so many in a row; they lead to what is similar and to the item."""
    for at in range(0, len(points), columns):
        for column, point in zip(st.columns(columns), points[at : at + columns], strict=False):
            with column.container(border=True):
                _card(collection, point, links(point) if links else _links(collection, point))


def _card(collection: str, point: dict[str, Any], links: list[Link]) -> None:
    payload = point["payload"]
    if picture := server.thumbnail(collection, point["id"]):
        st.image(picture, width="stretch")
    st.caption(plain(title(payload)))
    facts = [str(payload["label"])] if payload.get("label") is not None else []
    facts += [f"{point['score']:.3f}"] if point.get("score") is not None else []
    facts += [point["note"]] if point.get("note") else []
    st.text(" · ".join(facts))
    with st.container(horizontal=True, gap="xxsmall"):
        for link in links:
            st.page_link(link.page, label=link.label, query_params=link.address, help=link.help)


def _links(collection: str, point: dict[str, Any]) -> list[Link]:
    here = {"collection": collection, "id": point["id"]}
    return [Link("similar", "screens/search.py", here), Link("open", "screens/item.py", here)]


def title(payload: dict[str, Any]) -> str:
    """What a person calls the item: its title, else its name in the source."""
    return str(payload.get("title") or payload.get("item") or "")
