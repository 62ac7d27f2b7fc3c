"""What the file says: the card of Invoke, in three tiers, each with what it proves."""

from __future__ import annotations

from html import escape as escape_html
from itertools import zip_longest

import streamlit as st

from detector.imaging.provenance import Provenance, Statement
from detector.imaging.provenance.statement import Tier
from pages._state import escape
from pages._style import card

_TITLE = "What the file says"
_SENTENCE = "It stands next to the verdict and is never mixed into it."
_EXPLAIN = (
    "Signed: content credentials (C2PA), which show whether the file is as it was signed, and by whom. Stated: what "
    "anybody who could write the file may have written. Hints: what cameras and programs leave in a file by the way."
)
_NAMES: dict[Tier, str] = {"signed": "signed", "stated": "stated", "hint": "hints"}
_NONE: dict[Tier, tuple[str, str]] = {
    "signed": ("No content credentials.", "That says nothing: most files have none."),
    "stated": ("No statement about its origin.", "That says nothing: most websites and messengers remove them."),
    "hint": ("No hints.", "That says nothing."),
}
#: Characters of a value that are shown at once; what is longer stands behind a fold.
_SHOWN = 160
#: Of a table for programs, of which people understand the first words no better than the last.
_SHOWN_OF_TABLE = 40

_CSS = """
<style>
.provenance { width: 100%; border-collapse: collapse; table-layout: fixed; }
.provenance tr { border-top: 1px solid var(--hairline); }
.provenance th, .provenance td { padding: 0.55rem 0.5rem; border: 0; vertical-align: top; text-align: left; }
.provenance th { width: 4.6rem; padding-left: 0; font-weight: 400; color: var(--muted); }
.provenance td { overflow-wrap: anywhere; }
.provenance .said { margin-bottom: 0.2rem; }
.provenance .proves { margin-bottom: 0.5rem; }
.provenance .said:last-child, .provenance .said:last-child .proves { margin-bottom: 0; }
.provenance .name, .provenance .proves { color: var(--muted); font-size: 0.875rem; }
.provenance .proves { display: block; }
.provenance details { font-weight: 400; }
.provenance summary { cursor: pointer; color: var(--muted); font-size: 0.875rem; }
</style>
"""


def provenance_card(provenance: Provenance) -> None:
    """Show all statements of a file; nothing of it is read as HTML or Markdown, and nothing can be clicked.

    Parameters
    ----------
    provenance : Provenance
        From `detector.imaging.provenance.read_provenance`.
    """
    with card("provenance"):
        st.markdown(f"**{_TITLE}**", help=_EXPLAIN)
        st.caption(f"{escape(provenance.headline)} {_SENTENCE}")
        st.html(_CSS + provenance_table(provenance))


def provenance_table(provenance: Provenance) -> str:
    """The statements as an HTML table: a row a tier, each value with the sentence that says what it is worth."""
    rows = []
    for tier, name in _NAMES.items():
        found = provenance.in_tier(tier)
        worth = [item.proves for item in found[1:]]
        # A sentence that holds for several in a row is said once, after the last of them.
        said = (_said(item, item.proves != after) for item, after in zip_longest(found, worth))
        cell = "".join(said) if found else _nothing(tier)
        rows.append(f'<tr><th scope="row">{name}</th><td>{cell}</td></tr>')
    return f'<table class="provenance"><tbody>{"".join(rows)}</tbody></table>'


def _said(statement: Statement, with_worth: bool) -> str:
    value = statement.value
    most = _SHOWN_OF_TABLE if value.startswith("{") else _SHOWN
    if len(value) > most:
        start = escape_html(value[:most].rstrip())
        whole = f"<details><summary>All of it</summary>{escape_html(value)}</details>"
        said = f"<strong>{start}...</strong>{whole}"
    else:
        said = f"<strong>{escape_html(value)}</strong>"
    worth = f'<span class="proves">{escape_html(statement.proves)}</span>' if with_worth else ""
    return f'<div class="said"><span class="name">{escape_html(statement.name)}:</span> {said}{worth}</div>'


def _nothing(tier: Tier) -> str:
    bold, rest = _NONE[tier]
    return f'<div class="said"><strong>{bold}</strong> <span class="proves">{rest}</span></div>'
