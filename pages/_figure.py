"""One figure in its card: a title with an explanation on demand, the chart, and on what it was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from detector.charts.style import PLOTLY_CONFIG
from pages._state import escape
from pages._style import card


def figure_card(
    title: str, figure: Any, sentence: str, key: str, explain: str, below: Callable[[], None] | None = None
) -> None:
    """Draw it.

    Parameters
    ----------
    title : str
    figure : plotly figure
    sentence : str
        What one sees, on how many images it was measured and how.
    key : str
        Unique on the page.
    explain : str
        For somebody who has never heard of it; opens at the question mark beside the title.
    below : callable, optional
        Draws what else belongs into the card.
    """
    with card(key):
        st.markdown(f"**{title}**", help=explain)
        plot(figure, key)
        st.caption(escape(sentence))
        if below is not None:
            below()


def plot(figure: Any, key: str) -> None:
    """A Plotly figure in the app's colours."""
    st.plotly_chart(figure, key=key, config=PLOTLY_CONFIG, theme=None, width="stretch")
