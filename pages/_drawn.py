"""A page that was wiped is drawn again.

A tick of a clock (``st.fragment(run_every=...)``) that the browser sent just before the script switched to another page
runs after that page was drawn, under the old page's name. The browser then takes away what is shown and waits for the
old page, which nobody draws: the person looks at nothing. Such a tick is known by the address that it was sent from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import streamlit as st
from streamlit.navigation.page import StreamlitPage

_KEY = "drawn"


@dataclass
class _Drawn:
    page: StreamlitPage
    address: str
    query: Mapping[str, str | Iterable[str]] = field(default_factory=dict)


@contextmanager
def drawing(page: StreamlitPage) -> Iterator[None]:
    """Remember what is shown; around everything that a full run draws."""
    drawn = st.session_state[_KEY] = _Drawn(page, _address())
    try:
        yield
    finally:
        drawn.query = st.query_params.to_dict()


def redraw_if_wiped() -> None:
    """Call it in the ticks of a clock that every page has."""
    drawn: _Drawn | None = st.session_state.get(_KEY)
    if drawn is not None and drawn.address != _address():
        st.switch_page(drawn.page, query_params=drawn.query)


def _address() -> str:
    return (st.context.url or "").partition("?")[0]
