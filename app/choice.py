"""Choices of the sidebar that the address keeps, so that a link brings them back."""

import streamlit as st


def chosen(label: str, names: list[str], key: str) -> str:
    """One of the names, kept in the URL under `key`."""
    asked = st.query_params.get(key)
    name: str = st.sidebar.selectbox(label, names, index=names.index(asked) if asked in names else 0)
    st.query_params[key] = name
    return name
