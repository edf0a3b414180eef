"""The server as the pages see it: one client for the process, answers cached, errors told on the page."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

from app.choice import chosen
from app.plain import plain
from enfold import wire
from enfold.client import Client
from enfold.errors import EnfoldError


@st.cache_resource
def client() -> Client:
    return Client()


@st.cache_data(ttl=10, show_spinner=False)
def collections() -> list[dict[str, Any]]:
    return [info.model_dump() for info in client().collections()]


@st.cache_resource(ttl=60, max_entries=6, show_spinner=False)  # an Arrow table is never changed: no copy a rerun
def layout(collection: str, points: int) -> Any:
    """Arrow table of every point: id, x, y and payload columns. `points` renews the cache when the collection grows."""
    return client().layout(collection)


@st.cache_resource(ttl=60, max_entries=6, show_spinner=False)
def health(collection: str, points: int) -> Any:
    """Arrow table of what was found of every point, with its payload columns."""
    return client().health(collection)


@st.cache_data(ttl=600, max_entries=5000, show_spinner=False)
def thumbnail(collection: str, id: str) -> bytes | None:
    try:
        return bytes(client().thumbnail(collection, id))
    except EnfoldError:
        return None  # an item without a picture is still a result


@st.cache_data(ttl=600, max_entries=20, show_spinner=False)
def original(collection: str, id: str) -> bytes | str:
    """The item of a point, or the sentence that says why it cannot be had."""
    try:
        return bytes(client().original(collection, id))
    except EnfoldError as error:
        return str(error)


@st.cache_data(ttl=60, show_spinner=False)
def facets(collection: str, field: str, points: int) -> list[Any]:
    return [facet.value for facet in client().facets(collection, field)]


def searched_by(collection: wire.CollectionInfo, models: Sequence[wire.ModelInfo]) -> dict[str, dict[str, str]]:
    """What items find something in a collection: its own first, then those that models bring into its space.

    By modality, or by entry where a model has several of one: what a search says of the item (modality, model, entry).
    """
    found: dict[str, dict[str, str]] = {}
    for model in models:
        own = {
            name: entry.modality
            for name, entry in model.entries.items()
            if collection.space in (entry.space, *(size.space for size in entry.sizes.values()))
        }
        for name, modality in own.items():
            if list(own.values()).count(modality) == 1:
                found.setdefault(modality, {"modality": modality})
            else:
                ask = {"modality": modality, "model": f"{model.name}@{model.version}", "entry": name}
                found.setdefault(name, ask)
    if collection.modality not in {ask["modality"] for ask in found.values()}:
        found[collection.modality] = {"modality": collection.modality}  # the server says what it lacks
    own_first = sorted(found, key=lambda name: name not in (collection.modality, collection.entry))
    return {name: found[name] for name in own_first}


@contextmanager
def told() -> Iterator[None]:
    """Show an error as its sentence and end the page there."""
    try:
        yield
    except EnfoldError as error:
        st.error(plain(error))
        st.stop()


def choose_collection() -> wire.CollectionInfo:
    """The collection picked in the sidebar, kept in the URL; ends the page when there is none."""
    with told():
        known = {row["name"]: wire.CollectionInfo(**row) for row in collections()}
    if not known:
        st.info("There is no collection yet. Fill one: enfold embed SOURCE --model NAME --to index://NAME")
        st.stop()
    info = known[chosen("Collection", list(known), "collection")]
    st.sidebar.caption(f"{info.points:,} vectors of {info.dimensions} numbers, {info.modality}, by {info.model}")
    return info
