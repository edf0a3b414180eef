"""The catalogue: which published methods there are, which work here and for which items, what was measured of each."""

import plotly.graph_objects as go
import streamlit as st

from app import server
from app.choice import chosen
from enfold import catalogue, wire

ANY = "any"
_COLOURS = {"holds": "#2e7d32", "fails": "#c62828", "undecided": "#b26a00", "reported": "#5f6b7a"}
_SIGN, _EQUAL = {"ratio": "/", "difference": "-"}, {"ratio": 1, "difference": 0}
_NOT_YET = "not reproduced yet"

st.title("Methods")


def rows(found: list[wire.Method]) -> list[dict[str, str]]:
    return [
        {
            "method": one.slug,
            "state": one.state,
            "claim": one.claim.verdict if one.claim else _NOT_YET if one.state == "working" else "",
            "paper": one.paper,
            "works on": one.about,
        }
        for one in found
    ]


def shown(one: wire.Method) -> None:
    st.subheader(one.paper)
    if one.state == "missing":
        st.info("Not built yet.")
        return
    st.code(f"enfold run {one.slug} --set data.source=YOUR_DATA", language="sh")
    if one.claim is None:
        st.caption(f"Its claim is {_NOT_YET}: enfold reproduce {one.slug}")
        return
    st.markdown(f"**{one.claim.verdict}** ({len(one.claim.seeds)} seeds): {one.claim.sentence}")
    for relation in dict.fromkeys(check.relation for check in one.claim.checks):
        st.caption(f"{relation.capitalize()}, with the interval over the seeds; a mark where it had to get to.")
        checks = [check for check in one.claim.checks if check.relation == relation]
        st.plotly_chart(drawn(checks, relation), width="stretch", key=relation)


def drawn(checks: list[wire.Check], relation: str) -> go.Figure:
    """Each check as a point with its interval."""
    figure = go.Figure()
    sign = _SIGN.get(relation, "over")
    pairs = [[(check.arm, check.baseline), *([check.beyond] if check.beyond else [])] for check in checks]
    names = [" beyond ".join(f"{one} {sign} {other}" for one, other in own) for own in pairs]
    for verdict, colour in _COLOURS.items():
        own = [(name, check) for name, check in zip(names, checks, strict=True) if check.verdict == verdict]
        if own:
            figure.add_scatter(
                x=[check.value for _, check in own],
                y=[name for name, _ in own],
                error_x={
                    "array": [check.interval[1] - check.value for _, check in own],
                    "arrayminus": [check.value - check.interval[0] for _, check in own],
                },
                mode="markers",
                marker={"size": 10, "color": colour},
                name=verdict,
            )
    asked = [(name, check) for name, check in zip(names, checks, strict=True) if check.threshold is not None]
    figure.add_scatter(
        x=[check.threshold for _, check in asked],
        y=[name for name, _ in asked],
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 22, "color": "#888"},
        name="asked for",
    )
    if relation in _EQUAL:
        figure.add_vline(x=_EQUAL[relation], line_dash="dot", line_color="#888")
    figure.update_layout(height=90 + 45 * len(checks), margin={"l": 0, "r": 0, "t": 10, "b": 0})
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=names, automargin=True)
    return figure


with server.told():
    methods = server.client().methods()
working = sorted({name for one in methods for name in one.items})
items = chosen("Your items", [ANY, *working], "items")
found = methods if items == ANY else catalogue.recommended(items, methods)
if items == ANY:
    count = sum(one.state == "working" for one in methods)
    st.caption(f"{len(methods)} published methods, {count} of them working. Choose your kind of items on the left.")
else:
    st.caption(
        f"Methods that train on {items} items; first those whose paper's claim was found to hold at small size. "
        "Nothing here was measured on your data: try the first ones with few steps, and compare them."
    )
picked = st.dataframe(
    rows(found),
    hide_index=True,
    width="stretch",
    on_select="rerun",
    selection_mode="single-row",
    key=f"list of {items}",
)
chosen_rows = picked["selection"]["rows"]
asked = st.query_params.get("method")
if chosen_rows:
    st.query_params["method"] = asked = found[chosen_rows[0]].slug
if one := next((one for one in methods if one.slug == asked), None):
    shown(one)
