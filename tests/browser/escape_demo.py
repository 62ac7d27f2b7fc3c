"""Every place in which Streamlit reads Markdown, with a name in it as the pages write it: for `test_names.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).parents[2]))
from pages._state import escape
from tests.nasty_names import NASTY, WITH_CONTROLS

st.title("Names", anchor=False)
for n, name in enumerate([*NASTY, *WITH_CONTROLS]):
    with st.container(key=f"name-{n}"):
        st.markdown(f"**{escape(name)}**")
        st.markdown(f":gray[{escape(name)}]")
        st.markdown(escape(name))
        st.caption(escape(name))
        st.error(escape(name))
        st.button(escape(name), key=f"button-{n}")
        st.checkbox(escape(name), key=f"checkbox-{n}")
        st.title(escape(name), anchor=False)
st.caption("All are drawn.", help=escape(" ".join(NASTY)))
st.toast(escape(" ".join(NASTY)))
