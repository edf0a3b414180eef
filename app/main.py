"""The frame around the pages."""

from pathlib import Path

import streamlit as st

PAGES = Path(__file__).parent / "pages"

st.set_page_config(page_title="enfold", layout="wide")
st.navigation(
    [
        st.Page(PAGES / "search.py", title="Search", url_path="search", default=True),
        st.Page(PAGES / "map.py", title="Map", url_path="map"),
    ]
).run()
