"""The frame around the pages."""

from pathlib import Path

import streamlit as st

SCREENS = Path(__file__).parent / "screens"  # a folder called pages would bring up Streamlit's older mechanism

st.set_page_config(page_title="enfold", layout="wide")
st.navigation(
    [
        st.Page(SCREENS / "search.py", title="Search", default=True),
        st.Page(SCREENS / "map.py", title="Map"),
    ]
).run()
