"""The Metrics page's question about sources that were only guessed from folder names."""

from __future__ import annotations

import streamlit as st

from detector.formatting import count
from detector.operations.sources import confirm_sources
from detector.storage import samples
from detector.storage.acting import LABEL, may
from pages._state import escape, workspace
from pages._style import card

_SHOWN = 12


def guessed_sources(function_id: str) -> None:
    """Ask whether guessed sources are generators and collections; nothing where none is guessed."""
    guessed = [item for item in samples.count_sources(workspace().db, function_id) if item.guessed and item.source]
    if not guessed:
        return
    names = [item.source or "" for item in guessed]
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
    with card("guessed-sources"):
        st.markdown("**Are these generators and collections?**")
        st.caption(
            escape(
                f"{count(len(names), 'source was', 'sources were')} guessed from folder names: {shown}. If a folder is "
                "something else, such as a subject or a number, leave it or change it in Review: the figures on "
                "sources never seen are only as good as these names."
            )
        )
        if st.button(
            "Yes, they are" if len(names) > 1 else "Yes, it is",
            disabled=not may(LABEL),
            key=f"confirm-sources-{function_id}",
        ):
            confirm_sources(workspace(), function_id)
            st.rerun()
