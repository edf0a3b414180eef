"""Jobs: what the server has been asked to do, how far it is, and how to start and stop it. The same again goes on."""

import shlex

import streamlit as st

from app import server
from enfold import wire

EVERY = "2s"  # how often the list looks again
_ENDED = ("done", "failed", "cancelled")

st.title("Jobs")


def started() -> None:
    """A form for a job on a source that the server can see."""
    with server.told():
        models = [f"{one.name}@{one.version}" for one in server.client().models()]
    with st.expander("Embed a source into a collection"), st.form("embed", border=False):
        source = st.text_input(
            "Source", placeholder="a folder or manifest on the server's machine, or a fetched data set"
        )
        model = st.selectbox("Model", models)
        collection = st.text_input("Collection", placeholder="small letters, digits, '.', '_', '-'")
        limit = st.number_input("Only the first so many items", min_value=1, value=None, step=1)
        parts = st.checkbox("A vector for every window of long items")
        if st.form_submit_button("Start") and source and collection:
            chosen = {"limit": limit} if limit else {}
            with server.told():
                job = server.client().start_job(
                    "embed", source=source, model=model, to=f"index://{collection}", parts=parts, **chosen
                )
            st.success(f"Job {job.id} is queued.")


@st.fragment(run_every=EVERY)
def listed() -> None:
    with server.told():
        jobs = server.client().jobs()
    if not jobs:
        st.info("There were no jobs yet. Start one above, or: enfold embed SOURCE --model NAME --to index://NAME")
    for job in jobs:
        with st.container(border=True):
            shown(job)


def shown(job: wire.Job) -> None:
    facts, action = st.columns([5, 1])
    progress = job.progress
    phase = progress.get("phase") if job.state == "running" else None
    facts.markdown(" · ".join(filter(None, (f"**{job.kind}**", job.state, phase))))
    facts.code(shlex.join(job.command), language=None, wrap_lines=True)
    if progress.get("total"):
        done, total = int(progress["done"]), int(progress["total"])
        rate = progress.get("items_per_second")
        pace = f", {rate:,.0f} a second" if rate else ""
        failed = f", {progress['failed']:,.0f} could not be read" if progress.get("failed") else ""
        facts.progress(min(done / total, 1.0), f"{done:,} of {total:,}{pace}{failed}")
    if job.state not in _ENDED:
        if action.button("Stop", key=f"stop-{job.id}"):
            with server.told():
                server.client().cancel_job(job.id)
    elif job.state != "done" and action.button("Resume", key=f"resume-{job.id}"):
        with server.told():
            server.client().resume_job(job.id)
    if job.state in _ENDED and progress.get("error"):
        facts.error(str(progress["error"]))
    if job.log:
        with facts.expander("Log"):
            st.code(job.log, language=None)


started()
listed()
