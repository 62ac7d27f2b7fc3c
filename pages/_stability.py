"""Does it stay: the card of Invoke with the verdicts on copies of a picture, as a strip of small pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape as escape_html

import streamlit as st

from detector.charts.palette import PAPER, Ink
from detector.evidence.stability import PREVIEW_SIDE, Copy, Stability
from pages._state import escape
from pages._style import card, current_theme

_TITLE = "Does it stay?"
_EXPLAIN = (
    "Copies of this picture as they come about when it is passed on, and what the function says of each by its score "
    "alone. The grade of the verdict is never above what is left of it on all of them."
)
_CSS = """
<style>
.copies { display: flex; flex-wrap: wrap; gap: 0.9rem; margin: 0 !important; padding: 0 !important; list-style: none; }
.copies li { width: 7rem; margin: 0 !important; }
.copies .picture { display: flex; align-items: center; justify-content: center; height: 5.6rem; }
.copies img { max-width: 100%; max-height: 100%; border-radius: 0.5rem; }
.copies .half img { max-width: 50%; max-height: 50%; }
.copies .words { color: var(--muted); font-size: 0.875rem; }
.copies .said { font-weight: 650; overflow-wrap: anywhere; }
@media (max-width: 640px) { .copies li { width: 5.6rem; } }
</style>
"""


def stability_strip(stability: Stability, inks: Mapping[str, Ink]) -> None:
    """Show the verdict on each copy.

    Parameters
    ----------
    stability : Stability
    inks : mapping of str to Ink
        By label, from `detector.charts.palette.label_inks`.
    """
    with card("stability"):
        st.markdown(f"**{_TITLE}**", help=_EXPLAIN)
        st.caption(f"The verdict on copies of this picture. {escape(stability.sentence)}")
        st.html(_CSS + strip_of_copies(stability, inks, PAPER[current_theme()].neutral))


def strip_of_copies(stability: Stability, inks: Mapping[str, Ink], neutral: Ink) -> str:
    """The copies as one HTML list that wraps: small picture, what was done, what is said."""
    return f'<ul class="copies">{"".join(_item(copy, inks, neutral) for copy in stability.copies)}</ul>'


def _item(copy: Copy, inks: Mapping[str, Ink], neutral: Ink) -> str:
    words, said = escape_html(copy.words), escape_html(copy.said)
    ink = inks.get(copy.said, neutral).text
    small = " half" if copy.name == "half-size" else ""
    data = base64.b64encode(copy.preview).decode()
    return (
        f'<li><div class="picture{small}"><img src="data:image/webp;base64,{data}" alt="{words}: {said}" '
        f'width="{PREVIEW_SIDE}" style="width:auto"></div><div class="words">{words}</div>'
        f'<div class="said" style="color:{ink}">{said}</div></li>'
    )
