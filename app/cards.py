"""Points drawn as cards: picture, title, score, and a link that looks for more like it."""

from contextlib import suppress
from typing import Any

import streamlit as st

from app import server
from enfold import modalities
from enfold.errors import BadItem, MissingExtra


def grid(collection: str, points: list[dict[str, Any]], columns: int = 6) -> None:
    """Cards of points {id, payload, score?}, so many in a row."""
    for at in range(0, len(points), columns):
        for column, point in zip(st.columns(columns), points[at : at + columns], strict=False):
            with column.container(border=True):
                _card(collection, point)


def _card(collection: str, point: dict[str, Any]) -> None:
    payload = point["payload"]
    if picture := server.thumbnail(collection, point["id"]):
        st.image(picture, width="stretch")
    st.caption(title(payload))
    facts = [str(payload["label"])] if payload.get("label") is not None else []
    facts += [f"{point['score']:.3f}"] if point.get("score") is not None else []
    st.text(" · ".join(facts))
    st.page_link("screens/search.py", label="similar", query_params={"collection": collection, "id": point["id"]})


def file(dropped: Any, modality: str) -> None:
    """What a person has dropped: to be heard, watched, or looked at where its decoder is installed here."""
    if dropped.type.startswith("audio/"):
        st.audio(dropped)
    elif dropped.type in ("video/mp4", "video/webm"):
        st.video(dropped)
    else:
        reader = modalities.get(modality)(None)
        with suppress(MissingExtra, BadItem):  # of a bad item the server tells what is wrong
            st.image(reader.thumbnail(reader.read(dropped.getvalue())), width=96)


def title(payload: dict[str, Any]) -> str:
    """What a person calls the item: its title, else its name in the source."""
    return str(payload.get("title") or payload.get("item") or "")
