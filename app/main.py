"""The frame around the pages."""

from pathlib import Path

import streamlit as st

SCREENS = Path(__file__).parent / "screens"  # a folder called pages would bring up Streamlit's older mechanism

st.set_page_config(page_title="enfold", layout="wide")
st.navigation(
    [
        st.Page(SCREENS / "home.py", title="Home", default=True),
        st.Page(SCREENS / "search.py", title="Search"),
        st.Page(SCREENS / "map.py", title="Map"),
        st.Page(SCREENS / "predict.py", title="Predict"),
        st.Page(SCREENS / "health.py", title="Data health"),
        st.Page(SCREENS / "compare.py", title="Compare"),
        st.Page(SCREENS / "runs.py", title="Runs"),
        st.Page(SCREENS / "methods.py", title="Methods"),
        st.Page(SCREENS / "jobs.py", title="Jobs"),
        st.Page(SCREENS / "item.py", title="Item", visibility="hidden"),  # cards lead there
    ]
).run()
