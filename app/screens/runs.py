"""Training runs of the server's home: how far each is, its curves as they grow, what its stages came to."""

from typing import Any

import streamlit as st

from app import server
from app.choice import chosen
from enfold import wire

EVERY = "3s"  # how often a run that is at work is looked at again
_SIGNS = {"done": "✓", "running": "…", "waiting": "·"}
_NO_CURVES = ("step", "lr", "collapsed")  # columns of a curve that are no figure to watch
_FIRST = ("loss", "knn_accuracy")

st.title("Runs")


def picked() -> wire.RunInfo:
    with server.told():
        runs = server.client().runs()
    if not runs:
        st.info(
            "There are no training runs in this home yet. Start one: enfold run RECIPE, and see Methods for recipes"
        )
        st.stop()
    known = {run.id: run for run in runs}
    return known[chosen("Run", list(known), "run")]


def shown(id: str) -> None:
    with server.told():
        run = server.client().run(id)
    done = sum(stage.state == "done" for stage in run.stages)
    st.markdown(f"**{run.recipe}** on {run.items:,} items of **{run.data}** · begun {_when(run.created)}")
    unfinished = "" if run.state == "done" else f", last heard of {_when(run.heard)}"
    st.progress(done / len(run.stages), f"{done} of {len(run.stages)} stages done{unfinished}")
    if unfinished:
        st.caption("A run that was stopped goes on where it was: give the same command again.")
    for name, rows in run.curves.items():
        curves(name, rows)
    st.subheader("Stages")
    for stage in run.stages:
        figures(stage)


def _when(moment: str) -> str:
    return moment.partition("+")[0].replace("T", " ") + " UTC"


def curves(stage: str, rows: list[dict[str, Any]]) -> None:
    st.subheader(stage)
    if any(row.get("collapsed") for row in rows):
        st.warning(
            "Every item got nearly the same embedding at some step (collapsed): a lower learning rate, more varied "
            "data or the method's own remedy against collapse may help."
        )
    names = list(dict.fromkeys(name for row in rows for name in row if name not in _NO_CURVES))
    at_first = [name for name in _FIRST if name in names]
    watched = st.pills("Curves", names, selection_mode="multi", default=at_first, key=f"curves of {stage}")
    columns = st.columns(2)
    for number, name in enumerate(watched):
        points = [{"step": row["step"], name: row[name]} for row in rows if name in row]
        with columns[number % 2]:
            st.line_chart(points, x="step", y=name, height=220)


def figures(stage: wire.RunStage) -> None:
    took = "" if stage.seconds is None else f", {stage.seconds:,.0f} s"
    with st.expander(f"{_SIGNS[stage.state]} {stage.name} ({stage.verb}{took})", expanded=stage.verb == "evaluate"):
        if not stage.figures:
            st.caption("nothing yet" if stage.state != "done" else "no figures")
            return
        told = {name: round(value, 4) if isinstance(value, float) else value for name, value in stage.figures.items()}
        st.dataframe(
            [{"figure": name, "value": str(value)} for name, value in told.items()], hide_index=True, width="stretch"
        )


run = picked()
st.fragment(run_every=None if run.state == "done" else EVERY)(shown)(run.id)
