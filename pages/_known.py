"""Like what I know: whether a picture compares with the samples, and which of them are nearest to it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape as escape_html
from urllib.parse import urlencode

import streamlit as st

from detector.charts.palette import PAPER, Ink
from detector.evidence.evidence import Evidence
from detector.storage import samples
from detector.web.addresses import from_page
from detector.web.signing import picture_path
from pages._records import QUERY
from pages._state import escape, workspace
from pages._style import card, current_theme

_EXPLAIN = (
    "What a function learned says little of pictures unlike its samples: drawings, screenshots, noise, or files of "
    "other sizes and qualities. The nearest samples are those that the network takes for most alike."
)
_CSS = """
<style>
.nearest { display: flex; flex-wrap: wrap; gap: 0.9rem; margin: 0 !important; padding: 0 !important; list-style: none; }
.nearest li { width: 5.6rem; margin: 0 !important; }
.nearest a { color: inherit; text-decoration: none; }
.nearest img { width: 5.6rem; height: 5.6rem; object-fit: cover; border-radius: 0.5rem; }
.nearest .words {
  color: var(--muted); font-size: 0.875rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.nearest .said { font-weight: 650; overflow-wrap: anywhere; }
</style>
"""


def known_card(function_id: str, evidence: Evidence, inks: Mapping[str, Ink], without: str | None = None) -> None:
    """Show what is known of pictures like this one.

    Parameters
    ----------
    inks : mapping of str to Ink
        By label, from `detector.charts.palette.label_inks`.
    without : str, optional
        A record that is not meant: the one that is being made of this very verdict.
    """
    with card("known"):
        st.markdown("**Like what I know**", help=_EXPLAIN)
        unlike = [miss.sentence for miss in evidence.verdict.unlike]
        if unlike:
            st.markdown(escape(" ".join(unlike)))
        else:
            st.caption("Its size and quality, and the picture itself, compare with your samples.")
        for item in evidence.known:
            if without is not None and item.get("record") == without:
                continue
            st.markdown(_with_link(function_id, item))
        if evidence.nearest:
            st.caption("The samples most like it:")
            st.html(_CSS + _nearest(function_id, evidence, inks))


def _with_link(function_id: str, item: Mapping[str, str]) -> str:
    address = _in_review(function_id, item["file"]) if "file" in item else ""
    if "record" in item:
        address = "?" + urlencode({"function": function_id, QUERY: item["record"]})
    return f"{escape(item['sentence'])} [Open]({address})" if address else escape(item["sentence"])


def _in_review(function_id: str, file_name: str) -> str:
    return f"review?{urlencode({'function': function_id, 'text': file_name})}"


def _nearest(function_id: str, evidence: Evidence, inks: Mapping[str, Ink]) -> str:
    ws = workspace()
    found = {item.id: item for item in samples.get_samples(ws.db, [near["sample"] for near in evidence.nearest])}
    neutral = PAPER[current_theme()].neutral
    rows = []
    for near in evidence.nearest:
        sample = found.get(near["sample"])
        if sample is None:
            continue
        picture = escape_html(from_page(picture_path(ws.db, "thumbnail", sample.image_hash)))
        label, source = escape_html(near["label"]), escape_html(sample.source or sample.file_name)
        ink = inks.get(near["label"], neutral).text
        address = escape_html(_in_review(function_id, sample.file_name))
        said = f"Sample {source}, {label}: open in Review"
        rows.append(
            f'<li><a href="{address}" target="_self"><img src="{picture}" alt="{said}">'
            f'<div class="words">{source}</div><div class="said" style="color:{ink}">{label}</div></a></li>'
        )
    return f'<ul class="nearest">{"".join(rows)}</ul>'
