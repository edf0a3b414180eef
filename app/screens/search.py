"""Search: an item, a text, points to be like and unlike; the nearest points come out."""

import io
import json
from typing import Any

import pyarrow as pa
import streamlit as st
from pyarrow import csv, parquet

from app import cards, items, server
from app.cards import Link
from app.choice import chosen
from app.filters import filters
from enfold import wire

st.title("Search")
info = server.choose_collection()
with server.told():
    kinds = server.searched_by(info, server.client().models())
kind = kinds[chosen("Look for it by", list(kinds), "by") if len(kinds) > 1 else next(iter(kinds))]
limit = st.sidebar.slider("Results", 6, 60, 18, step=6)


def examples(name: str) -> list[str]:
    """Ids that the address lists under `like` or `unlike`."""
    return [id for id in st.query_params.get(name, "").split(",") if id]


def query() -> dict[str, Any]:
    """What to look for: a dropped item, typed text, or the points that the address names."""
    item = items.given(kind["modality"])
    base: dict[str, Any] = {"item": item, **kind} if item is not None else {}
    if not base and "id" in st.query_params:
        base = {"id": st.query_params["id"]}
    more = {name: [{"id": id} for id in examples(name)] for name in ("like", "unlike") if examples(name)}
    if item is not None and info.tokens is not None and not more:
        meaning = "Put the best in order by their tokens: for each of the item's, the likest of theirs (MaxSim)"
        base["late_interaction"] = st.sidebar.checkbox("Late interaction", help=meaning)
    return base | more


def links(point: dict[str, Any]) -> list[Link]:
    """What a card of a hit leads to: what is like it, itself, and this search with it as an example or the contrary."""
    own = {"collection": info.name, "id": point["id"]}
    here = {name: st.query_params[name] for name in ("collection", "by", "id", "filter") if name in st.query_params}
    here |= {name: ",".join(examples(name)) for name in ("like", "unlike") if examples(name)}
    found = [Link("similar", "screens/search.py", own)]
    for label, name, meaning in (("+", "like", "more like this"), ("−", "unlike", "less like this")):
        ids = ",".join([*(id for id in examples(name) if id != point["id"]), point["id"]])
        found.append(Link(label, "screens/search.py", here | {name: ids}, meaning))
    return [*found, Link("open", "screens/item.py", own)]


def told_examples() -> None:
    """How the search is steered, and a way to begin anew."""
    words = {"like": "more like", "unlike": "less like"}
    counts = [f"{len(examples(name))} {word}" for name, word in words.items() if examples(name)]
    if counts:
        begun = {name: st.query_params[name] for name in ("collection", "by", "id") if name in st.query_params}
        with st.container(horizontal=True):
            st.caption("Steered by " + " and ".join(counts))
            st.page_link("screens/search.py", label="without", query_params=begun)


def export(hits: list[wire.Hit]) -> None:
    """The hits as files: ids alone, a table of text, a table of columns."""
    rows = [{"id": hit.id, "score": hit.score, **hit.payload} for hit in hits]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _column([_plain(row.get(name)) for row in rows]) for name in names})
    text, columns = io.BytesIO(), io.BytesIO()
    csv.write_csv(table, text)
    parquet.write_table(table, columns)
    with st.container(horizontal=True):
        for label, content, suffix in (
            ("Ids", "\n".join(["id", *(hit.id for hit in hits)]), "ids.csv"),
            ("CSV", text.getvalue(), "csv"),
            ("Parquet", columns.getvalue(), "parquet"),
        ):
            st.download_button(label, content, f"{info.name}.{suffix}", key=suffix)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)


def _column(values: list[Any]) -> pa.Array:
    """Numbers as numbers where all are, else text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])


wanted, only = query(), filters(info)
if not wanted:
    st.info("Drop an item, or follow 'similar' under a picture of the map.")
    st.stop()
with server.told():
    found = server.client().search(info.name, limit=limit, filter=only, **wanted)
told_examples()
st.caption(
    f"{len(found.hits)} of {info.points:,} points of {found.model}, space {found.space}, {found.milliseconds:.1f} ms"
)
export(found.hits)
cards.grid(info.name, [hit.model_dump() for hit in found.hits], links=links)
