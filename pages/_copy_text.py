"""A button that copies a text, which is too long to be shown for that alone."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_component = st.components.v2.component(
    "detector_copy_text",
    html='<button type="button"><span class="label">Copy</span></button><span class="said" role="status"></span>',
    css=(Path(__file__).parent / "_copy_text.css").read_text(encoding="utf-8"),
    js=(Path(__file__).parent / "_copy_text.js").read_text(encoding="utf-8"),
)


def copy_text(label: str, text: str, key: str) -> None:
    """Show the button; ``key`` unique on the page."""
    _component(key=key, data={"label": label, "text": text}, width="content", height="content")
