"""The place of Invoke that takes pictures: dropped on it, pasted anywhere on the page, or chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages._state import IMAGE_TYPES, largest_upload_mb

#: Nothing lies in it yet: over the upper half of the page, with words as large as it.
_LARGE = """
.st-key-drop [data-testid="stFileUploaderDropzone"] {
  min-height: 40vh; flex-direction: column; justify-content: center; gap: 0.8rem; text-align: center;
}
.st-key-drop [data-testid="stFileUploaderDropzone"]::before {
  content: "Drop, paste or choose pictures"; font-size: 1.5rem; font-weight: 650;
}
.st-key-drop [data-testid="stFileUploaderDropzone"] > * { flex: none; }
"""

_component = st.components.v2.component(
    "detector_paste",
    html="<span></span>",
    js=(Path(__file__).parent / "_drop.js").read_text(encoding="utf-8"),
)


def drop_place(function_id: str, large: bool) -> Sequence[UploadedFile]:
    """Show the place, and return what lies in it.

    Parameters
    ----------
    large : bool
        Over the upper half of the page: there is nothing else to see yet.
    """
    key = f"images-{function_id}-{st.session_state.get(_turn(function_id), 0)}"
    large = large and not st.session_state.get(key)
    # One container in both sizes: a file field that moves to another one would be another one, and empty.
    with st.container(key="drop"):
        # Always there, or the old one would stay until the end of a run that shows a picture.
        st.html(f"<style>{_LARGE if large else ''} .st-key-drop {{ min-height: 0; }}</style>")
        uploads = st.file_uploader(
            "Drop, paste or choose pictures",
            accept_multiple_files=True,
            type=IMAGE_TYPES,
            max_upload_size=largest_upload_mb(),
            key=key,
            label_visibility="collapsed",
        )
        _component(key=f"paste-{function_id}", data={"key": key}, height=1)
    return uploads


def empty_the_place(function_id: str) -> None:
    """Have nothing lie in the place any more: what lay there is taken care of elsewhere."""
    st.session_state[_turn(function_id)] = st.session_state.get(_turn(function_id), 0) + 1


def _turn(function_id: str) -> str:
    return f"drop-turn-{function_id}"
