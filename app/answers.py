"""Answers of tasks as a person reads them: probabilities as bars, masks and pictures as pictures, the rest as it is."""

import base64
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import streamlit as st
from plotly.colors import qualitative

from app import items
from app.plain import plain
from enfold import modalities
from enfold.errors import MissingExtra
from enfold.tasks.detect import Scored

EDGES = [0, 1, 2, 3, 0, 4, 5, 6, 7, 4, 5, 1, 2, 6, 7, 3]  # of a box, in one stroke


def draw(task: str, answer: dict[str, Any]) -> None:
    DRAWN.get(task, st.json)(answer)


def labels(answer: dict[str, Any]) -> None:
    """The most probable labels, and how unlike anything known the item is."""
    left, right = st.columns([1, 2])
    left.metric("Label", answer["label"])
    left.caption(f"{answer['probability']:.1%} sure")
    if answer.get("ood") is not None:
        left.metric(
            "Unlike what it knows",
            f"{answer['ood']:.0%}",
            help="The share of held-out items that lie nearer to their label's centre: near 100 %, it is unlike any.",
        )
    right.bar_chart(pa.Table.from_pylist(answer["top"]), x="label", y="probability", horizontal=True, sort=False)


def mask(answer: dict[str, Any]) -> None:
    """The middle slices of a labelled volume along its axes, and how much of it each label takes."""
    reader = modalities.get("volume")(None)
    try:
        numbers = np.asarray(reader.read(base64.urlsafe_b64decode(answer["volume"])).values).astype(int)
    except MissingExtra as error:
        st.info(plain(error))
    else:
        shown = np.array([(0, 0, 0), *map(_rgb, qualitative.Dark24)], np.uint8)[numbers % (len(qualitative.Dark24) + 1)]
        for column, axis in zip(st.columns(3), range(3), strict=True):
            column.image(np.rot90(shown.take(numbers.shape[axis] // 2, axis=axis)), width="stretch")
    st.dataframe(answer["amounts"])


def pictures(answer: dict[str, Any]) -> None:
    st.image([base64.urlsafe_b64decode(one) for one in answer["images"]], width=160)


def text(answer: dict[str, Any]) -> None:
    st.markdown("**Text**")
    st.text(answer["text"])
    st.caption(f"{answer['tokens']} tokens, ended by {answer['finish']}")


def course(answer: dict[str, Any]) -> None:
    """What a series is expected to do, and the range between its outermost quantiles."""
    steps = answer["times"] or list(range(1, 1 + len(answer["courses"][0]["forecast"])))
    for number, one in enumerate(answer["courses"], 1):
        drawn, shares = go.Figure(), sorted(one["quantiles"], key=float)
        if len(shares) > 1:
            low, high = one["quantiles"][shares[0]], one["quantiles"][shares[-1]]
            drawn.add_trace(go.Scatter(x=steps, y=high, mode="lines", line={"width": 0}, showlegend=False))
            name = f"{float(shares[0]):.0%} to {float(shares[-1]):.0%}"
            drawn.add_trace(go.Scatter(x=steps, y=low, mode="lines", line={"width": 0}, fill="tonexty", name=name))
        drawn.add_trace(go.Scatter(x=steps, y=one["forecast"], mode="lines", name="forecast"))
        drawn.update_layout(title=one["channel"], height=280, margin={"l": 0, "r": 0, "t": 32, "b": 0})
        st.plotly_chart(drawn, key=f"course-{number}")


def counts(answer: dict[str, Any]) -> None:
    """What is to be expected, and the interval of each, one line a count."""
    found = answer["estimates"]
    apart = {
        "array": [max(0, one["high"] - one["expected"]) for one in found],
        "arrayminus": [max(0, one["expected"] - one["low"]) for one in found],
    }
    dots = {"x": [one["expected"] for one in found], "y": [one["name"] for one in found]}
    drawn = go.Figure(go.Scatter(**dots, mode="markers", error_x={"type": "data", "symmetric": False, **apart}))
    drawn.update_layout(height=120 + 32 * len(found), margin={"l": 0, "r": 0, "t": 8, "b": 0})
    drawn.update_yaxes(autorange="reversed")
    st.plotly_chart(drawn)
    within = "" if answer["days"] is None else f" in the {answer['days']:g} days after the last event"
    st.caption(f"Expected counts{within}; each line holds the true one with a probability of {answer['coverage']:.0%}")
    st.dataframe(found)


def values(answer: dict[str, Any]) -> None:
    """Each measured value in its unit, and the interval in which it is likely to lie."""
    for one in answer["values"]:
        name = one["name"].replace("_", " ").capitalize()
        st.metric(name, f"{one['value']:,.4g} {one['unit']}")
        st.caption(
            f"{one['low']:,.4g} to {one['high']:,.4g} {one['unit']} with a probability of {answer['coverage']:.0%}"
        )


def action(answer: dict[str, Any]) -> None:
    """What to do next, and how probable it is that each action is the best."""
    left, right = st.columns([1, 2])
    left.metric("Action", answer["name"])
    left.caption("drawn by its probability" if answer["mode"] == "online" else "the most probable one")
    share = [{"action": number, "probability": one} for number, one in enumerate(answer["probabilities"])]
    right.bar_chart(pa.Table.from_pylist(share), x="action", y="probability", horizontal=True, sort=False)


def boxes(answer: dict[str, Any]) -> None:
    """Boxes in space, to be turned, and as a table."""
    drawn = go.Figure()
    for one in answer["boxes"]:
        x, y, z = Scored(**one).corners.T
        drawn.add_trace(go.Scatter3d(x=x[EDGES], y=y[EDGES], z=z[EDGES], mode="lines", name=one["label"]))
    drawn.update_layout(height=480, margin={"l": 0, "r": 0, "t": 0, "b": 0}, scene={"aspectmode": "data"})
    st.plotly_chart(drawn)
    st.dataframe(answer["boxes"])


def completed(answer: dict[str, Any]) -> None:
    """What was left and what was found again, as a picture and as a file."""
    file, reader = base64.urlsafe_b64decode(answer["splats"]), modalities.get("splats")(None)
    st.image(reader.thumbnail(reader.read(file), 320), width=320)
    st.caption(f"{answer['left']:,} splats were left, {answer['found']:,} were found")
    st.download_button("Splats (.ply)", file, "completed.ply")


def tags(answer: dict[str, Any]) -> None:
    """Residues on the colours of their labels, and how much of the chain each label takes."""
    shades = dict(zip(answer["labels"], qualitative.Pastel, strict=False))
    items.residues(answer["sequence"], [shades[letter] for letter in answer["tags"]])
    shares = [
        {"label": name, "share": answer["tags"].count(letter) / len(answer["tags"])}
        for letter, name in answer["labels"].items()
    ]
    st.bar_chart(pa.Table.from_pylist(shares), x="label", y="share", horizontal=True, sort=False)
    sure = np.max(answer["probabilities"], axis=1).mean()
    st.caption(f"{len(answer['tags']):,} residues, of whose labels it is {sure:.0%} sure in the mean")


def touching(answer: dict[str, Any]) -> None:
    """The map of contacts, and its surest pairs."""
    drawn = go.Figure(go.Heatmap(z=answer["contacts"], x0=1, y0=1, colorscale="Blues", zmin=0, zmax=1))
    drawn.update_layout(height=480, width=520, margin={"l": 0, "r": 0, "t": 0, "b": 0})
    drawn.update_yaxes(autorange="reversed")
    left, right = st.columns(2)
    left.plotly_chart(drawn, width="content")
    right.dataframe(
        [
            {one: f"{answer['sequence'][pair[one] - 1]} {pair[one]}" for one in ("first", "second")}
            | {"probability": pair["probability"]}
            for pair in answer["pairs"]
        ]
    )


def exchanges(answer: dict[str, Any]) -> None:
    """How likely each residue is at every place that was masked, against the one that stands there; the best ones."""
    where = [f"{answer['sequence'][place - 1]}{place}" for place in answer["places"]]
    scores = np.array(answer["scores"]).reshape(len(where), len(answer["residues"]))
    drawn = go.Figure(go.Heatmap(z=scores.T, x=where, y=list(answer["residues"]), colorscale="RdBu", zmid=0))
    drawn.update_layout(height=480, margin={"l": 0, "r": 0, "t": 0, "b": 0})
    drawn.update_yaxes(autorange="reversed")
    st.plotly_chart(drawn)
    st.caption(
        "Log-odds of each residue against the one that stands there, which is masked: above 0 it is the likelier"
    )
    st.dataframe(answer["mutations"])


def distances(answer: dict[str, Any]) -> None:
    """How far apart atoms are expected to lie, as a map."""
    atoms = answer["atoms"]
    drawn = go.Figure(go.Heatmap(z=answer["distances"], x=atoms, y=atoms, colorscale="Blues_r", zmin=0))
    drawn.update_layout(height=480, width=560, margin={"l": 0, "r": 0, "t": 0, "b": 0})
    drawn.update_yaxes(autorange="reversed")
    st.plotly_chart(drawn, width="content")
    st.caption("Expected distances in ångström; each atom bears its number in the item as it was written")


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


DRAWN = {
    "act": action,
    "classify": labels,
    "complete": completed,
    "contacts": touching,
    "detect": boxes,
    "estimate": counts,
    "forecast": course,
    "generate": text,
    "mutations": exchanges,
    "nearest": labels,
    "paint": pictures,
    "regress": values,
    "relations": distances,
    "segment": mask,
    "tag": tags,
    "zero_shot": labels,
}
