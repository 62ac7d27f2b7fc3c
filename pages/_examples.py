"""Pictures to try Invoke with, for whoever has none at hand."""

from __future__ import annotations

import streamlit as st

from detector.datasets.builtin import builtin_sample
from pages._drop import empty_the_place

#: Other patches than those of the built-in sample's own images: a model trained on it has not seen them.
_SEED = 7


@st.cache_data(show_spinner=False)
def _pictures() -> list[tuple[str, bytes, str]]:
    return [(item.file_name, item.data, item.label) for item in builtin_sample(2, _SEED)]


def example(function_id: str) -> tuple[str, bytes] | None:
    """The example that was chosen, name and file; None where none was."""
    return st.session_state.get(_key(function_id))


def forget_example(function_id: str) -> None:
    """Back to none."""
    st.session_state.pop(_key(function_id), None)


def examples(function_id: str) -> None:
    """A row of small pictures, each with a button."""
    st.caption("Or try one of these pictures of the built-in sample.")
    with st.container(horizontal=True, key="examples"):
        for number, (name, data, label) in enumerate(_pictures()):
            kind = "A photograph" if label == "real" else "An imitation"
            with st.container(width=128):
                st.image(data, width=128, alt=kind)
                if st.button(f"{kind} {number // 2 + 1}", key=f"example-{function_id}-{number}", width="stretch"):
                    show_instead(function_id, name, data)


def show_instead(function_id: str, name: str, data: bytes) -> None:
    """Have the page show this picture, which does not lie in the place for files. Ends the run of the page."""
    empty_the_place(function_id)
    st.session_state[_key(function_id)] = (name, data)
    st.rerun()


def _key(function_id: str) -> str:
    return f"example-of-{function_id}"
