"""The same points in Streamlit's own plotly chart, by a page of a few lines."""

import plotly.graph_objects as go
import streamlit as st

from enfold.client import Client


@st.cache_resource
def figure(collection: str) -> go.Figure:
    with Client() as client:
        points = client.layout(collection)
    drawn, labels = go.Figure(), points["label"].to_numpy(zero_copy_only=False)
    for label in sorted(set(labels)):
        x, y = (points[name].to_numpy()[labels == label] for name in ("x", "y"))
        drawn.add_trace(go.Scattergl(x=x, y=y, name=label, mode="markers", marker={"size": 3}))
    return drawn.update_layout(height=600, dragmode="lasso")


st.plotly_chart(figure(st.query_params["collection"]), on_select="rerun", selection_mode=("lasso",))
