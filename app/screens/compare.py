"""Compare: the same items in two collections, as two models or two versions of one see them."""

from typing import Any

import numpy as np
import orjson
import streamlit as st

from app import cards, server
from app.choice import chosen
from app.plain import plain
from enfold import wire
from enfold.diff import FEWEST, NEIGHBOURS, nearest, overlap

MOST = 5_000  # items that are compared, each with every other
LARGEST = 200_000  # points of a collection that are fetched
SHOWN = 6

st.title("Compare")
with server.told():
    known = {row["name"]: wire.CollectionInfo(**row) for row in server.collections()}
names = [name for name, one in known.items() if 0 < one.points <= LARGEST]
if len(names) < 2:
    st.info("Two collections of the same items are compared: embed them with another model, into another collection.")
    st.stop()


a = chosen("Collection", names, "a")
b = chosen("… beside", [name for name in names if name != a], "b")


@st.cache_resource(ttl=600, max_entries=4, show_spinner="fetching vectors")  # only read, never copied
def points(collection: str, count: int) -> dict[tuple[str, str, str], tuple[str, np.ndarray, dict[str, Any]]]:
    """By source, item and part: id, vector and payload. `count` renews the cache when the collection grows."""
    found = {}
    for row in server.client().points(collection).to_pylist():
        payload = orjson.loads(row["payload"])
        key = (str(payload.get("source")), str(payload.get("item")), str(payload.get("part")))
        found[key] = (row["id"], np.asarray(row["vector"], np.float32), payload)
    return found


with server.told():
    sides = [points(name, known[name].points) for name in (a, b)]
common = [key for key in sides[0] if key in sides[1]]
if len(common) < FEWEST:
    st.info(
        f"'{a}' and '{b}' have {len(common)} items in common; {FEWEST} are needed: embed the same source into both."
    )
    st.stop()
common = [common[i] for i in np.unique(np.linspace(0, len(common) - 1, MOST).astype(int))]
near = [nearest(np.stack([side[key][1] for key in common])) for side in sides]
kept = overlap(*near)
labels = np.array([str(sides[0][key][2].get("label", "")) for key in common])

left, middle, right = st.columns(3)
left.metric("Items in both", f"{len(common):,}")
middle.metric(
    f"Of the {NEIGHBOURS} nearest, the same",
    f"{kept.mean():.1%}",
    help=f"By chance it were {NEIGHBOURS / (len(common) - 1):.1%}.",
)
if labels.any():
    agree = [(labels[rows] == labels[:, None]).mean() for rows in near]
    right.metric("Nearest of the same label", f"{agree[1]:.1%}", f"{agree[1] - agree[0]:+.1%} against {a}")
    st.dataframe(
        [
            {
                "label": label,
                "items": int(own.sum()),
                f"same label, {a}": float((labels[near[0][own]] == label).mean()),
                f"same label, {b}": float((labels[near[1][own]] == label).mean()),
                "neighbours kept": float(kept[own].mean()),
            }
            for label in sorted(set(labels))
            if (own := labels == label).any()
        ],
        hide_index=True,
    )

moved = np.argsort(kept, kind="stable")
options = [f"{common[i][1]} ({kept[i]:.0%} kept)" for i in moved[:100]]
st.subheader("Who moved most")
picked = moved[options.index(st.selectbox("Item", options))]
for name, side, rows in zip((a, b), sides, near, strict=True):
    model = known[name].model
    st.caption(f"{plain(common[picked][1])} and its nearest in {name}, by {model}")
    shown = [picked, *rows[picked][: SHOWN - 1]]
    cards.grid(name, [{"id": side[common[i]][0], "payload": side[common[i]][2]} for i in shown])
