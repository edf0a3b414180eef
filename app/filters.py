"""Filters of the sidebar: values of any payload field, or a range of a number, kept in the address."""

import json
from typing import Any

import streamlit as st

from app import server
from enfold import wire
from enfold.errors import EnfoldError

SAMPLED = 100  # points that are looked at to know the fields
MOST_VALUES = 200  # of a field that are offered


def filters(info: wire.CollectionInfo) -> list[dict[str, Any]]:
    """Conditions, all of which hold, as the reader chose them."""
    known = fields(info.name, info.points)
    if not known:
        return []
    begun = _from_link()
    picked = st.sidebar.multiselect("Filter by", list(known), default=[name for name in begun if name in known])
    conditions = [_of_field(info, name, known[name], begun.get(name, {})) for name in picked]
    said = [one for one in conditions if len(one) > 1]
    if said:
        st.query_params["filter"] = json.dumps(said, separators=(",", ":"))
    else:
        st.query_params.pop("filter", None)
    return said


@st.cache_data(ttl=60, show_spinner=False)
def fields(collection: str, points: int) -> dict[str, bool]:
    """Payload fields that can be filtered by, a label first; whether each is a number that is measured, not counted."""
    try:
        seen = [point.payload for point in server.client().sample(collection, SAMPLED)]
    except EnfoldError:
        return {}
    values: dict[str, list[Any]] = {}
    for payload in seen:
        for name, value in payload.items():
            if isinstance(value, str | int | float | bool):
                values.setdefault(name, []).append(value)
    repeated = {name: found for name, found in values.items() if any(isinstance(one, float) for one in found)}
    repeated |= {name: found for name, found in values.items() if len(set(found)) <= max(len(found) / 2, 1)}
    return {
        name: any(isinstance(one, float) for one in repeated[name])
        for name in sorted(repeated, key=lambda name: (name != "label", name))
    }


def _of_field(info: wire.CollectionInfo, name: str, measured: bool, begun: dict[str, Any]) -> dict[str, Any]:
    condition: dict[str, Any] = {"field": name}
    if measured:
        for column, (label, key) in zip(st.sidebar.columns(2), (("at least", "gte"), ("at most", "lte")), strict=True):
            given = column.number_input(f"{name} {label}", value=begun.get(key))
            if given is not None:
                condition[key] = given
        return condition
    with server.told():
        offered = server.facets(info.name, name, info.points)[:MOST_VALUES]
    kept = [value for value in begun.get("any", []) if value in offered]
    chosen = st.sidebar.multiselect(f"Only these of {name}", offered, default=kept)
    return condition | ({"any": chosen} if chosen else {})


def _from_link() -> dict[str, dict[str, Any]]:
    """Conditions of the address by field; what is none of our making counts as absent."""
    try:
        rows = [wire.Condition.model_validate(row) for row in json.loads(st.query_params.get("filter", "[]"))]
    except (ValueError, TypeError):
        return {}
    return {row.field: row.model_dump(exclude_defaults=True) for row in rows}
