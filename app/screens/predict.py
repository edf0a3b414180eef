"""Predict: an item through a task of a model; its answer drawn, and what lies nearest to it as the reason."""

from typing import Any, Literal, get_args, get_origin

import streamlit as st
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app import answers, cards, items, server
from app.choice import chosen
from enfold import tasks

REASONS = 6  # nearest items that are shown beside an answer

st.title("Predict")
with server.told():
    models = {f"{one.name}@{one.version}": one for one in server.client().models() if one.tasks}
if not models:
    st.info("No loaded model answers a task. A recipe with labels makes one: see docs/how_to.")
    st.stop()


def option(name: str, field: FieldInfo) -> Any:
    """A widget for one option of a task; objects keep their default."""
    kind = next((one for one in get_args(field.annotation) if one is not type(None)), field.annotation)
    kind = field.annotation if get_origin(field.annotation) is Literal else kind
    start = None if field.default is PydanticUndefined else field.default
    label, told = name.replace("_", " "), field.description
    if get_origin(field.annotation) is list:
        text = st.sidebar.text_area(f"{label}, one a line", "\n".join(map(str, start or ())), help=told)
        return text.splitlines() or None
    if get_origin(kind) is Literal:
        return st.sidebar.selectbox(label, get_args(kind), help=told)
    if kind is bool:
        return st.sidebar.checkbox(label, bool(start), help=told)
    if kind in (int, float):
        return st.sidebar.number_input(label, value=start, step=1 if kind is int else None, help=told)
    if kind is str:
        return st.sidebar.text_input(label, start or "", help=told) or start
    return start


model = models[chosen("Model", list(models), "model")]
task = chosen("Task", model.tasks, "task")
of_task = tasks.get(task)
fitting = {name: one for name, one in model.entries.items() if of_task.modality in (None, one.modality)}
entry = chosen("Entry", list(fitting), "entry") if len(fitting) > 1 else next(iter(fitting))
options = {name: option(name, field) for name, field in of_task.Options.model_fields.items()}
asked = {name: value for name, value in options.items() if value is not None}
given = items.given(fitting[entry].modality)
if given is None:
    st.info("Drop an item, or type a text, and the answer appears here.")
    st.stop()
ref, modality = f"{model.name}@{model.version}", fitting[entry].modality
ask: dict[str, Any] = {"modality": modality, "task": task, "options": asked, "model": ref, "entry": entry}
with server.told():
    if of_task.stream is not tasks.Task.stream:
        written, told = st.empty(), ""
        for answer in server.client().stream(given, **ask):  # pieces, and last the whole
            told += answer.get("text", "")
            written.text(told)
        written.empty()
    else:
        [answer] = server.client().predict([given], **ask)
answers.draw(task, answer)
spaces = {fitting[entry].space, *(size.space for size in fitting[entry].sizes.values())}
with server.told():
    kept = next((row for row in server.collections() if row["space"] in spaces and row["points"]), None)
    if kept is not None:
        near = server.client().search(
            kept["name"], item=given, modality=modality, limit=REASONS, model=ref, entry=entry
        )
        st.subheader(f"Nearest in {kept['name']}")
        cards.grid(kept["name"], [hit.model_dump() for hit in near.hits])
