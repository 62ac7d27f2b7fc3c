"""The focus in the first field of a dialog: Streamlit leaves it on the dialog itself."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_component = st.components.v2.component(
    "detector_first_field",
    html="<span></span>",
    js=(Path(__file__).parent / "_first_field.js").read_text(encoding="utf-8"),
)


def focus_first_field() -> None:
    """Let the keys go to the first field of the dialog that is open; call it last, inside the dialog."""
    _component(key="first-field", height=1)
