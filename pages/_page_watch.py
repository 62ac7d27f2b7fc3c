"""A page that the browser has taken away comes back.

A click in a dialog, or a tick of a clock, may wait at the server while the script itself switches to another page. It
is answered after that, under the old page's name: Streamlit finds nothing to run, and the browser takes away what it
shows, as that is another page's. No script of ours runs then, so only the browser can see it: every page has a heading.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_component = st.components.v2.component(
    "detector_page_watch",
    html="<span></span>",
    js=(Path(__file__).parent / "_page_watch.js").read_text(encoding="utf-8"),
)


def watch_page() -> None:
    """Draw the page again where it is gone; call it once a run, in the sidebar, which stays."""
    _component(key="watch-page", height=1, on_blank_change=lambda: None)
