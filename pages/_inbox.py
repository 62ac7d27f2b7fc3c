"""The line on top of Review that says how many captured pictures wait for a label."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from detector.formatting import count
from detector.gallery.filters import INBOX, GalleryFilter
from detector.gallery.selection import Gallery


def inbox_line(found: Gallery, where: GalleryFilter, show: Callable[[], None]) -> None:
    """Say what waits, and lead there; nothing where nothing waits or captured pictures are what one looks at.

    Parameters
    ----------
    where : GalleryFilter
        What the gallery shows now.
    show : callable
        Called where somebody wants to see them.
    """
    waiting = 0 if where.captured is not None or where.bin else found.count(INBOX)
    if not waiting:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="inbox"):
        said = count(waiting, "captured picture waits", "captured pictures wait")
        st.markdown(f":gray[{said} for a label.]", width="content")
        st.button("Show them" if waiting > 1 else "Show it", type="tertiary", on_click=show, key="inbox-show")
