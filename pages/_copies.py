"""Several files of the same picture on the Invoke page: one verdict for all, and each of them beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as escape_html

import streamlit as st

from detector.charts.palette import PAPER, label_inks
from detector.errors import ImageError
from detector.evidence.copies_together import Together, is_one_picture, judge_together
from detector.evidence.desk import Case
from detector.evidence.evidence import FIND_THE_FIRST, NOT_ALONE
from detector.evidence.model_facts import model_facts
from detector.formatting import percent
from detector.imaging import decode_image
from detector.imaging.fingerprint import perceptual_hash
from detector.serving.model import load_serving_model
from detector.storage.functions import Function
from detector.training.thresholds import CANT_TELL
from pages._single import examined
from pages._state import escape, function_labels, workspace
from pages._style import card, current_theme

#: More files than this are many pictures, and not looked at for being one.
MOST_COPIES = 8


@st.cache_data(show_spinner=False, max_entries=64)
def _hash(data: bytes) -> str | None:
    try:
        return perceptual_hash(decode_image(data, "", workspace().limits).pixels)
    except ImageError:
        return None


def are_copies(files: Sequence[tuple[str, bytes]]) -> bool:
    """Whether a few files show the same picture, as far as their perceptual hashes tell."""
    if not 1 < len(files) <= MOST_COPIES:
        return False
    hashes = [_hash(data) for _, data in files]
    return all(hashes) and is_one_picture([item for item in hashes if item])


def copies_view(function: Function, files: Sequence[tuple[str, bytes]]) -> None:
    """The one verdict, how far the files agree, and what each says by itself, the weightiest first."""
    serving = load_serving_model(workspace(), function.id)
    with st.spinner("Looking at the copies"):
        cases = [examined(serving, name, data) for name, data in files]
    found = judge_together(serving, [(name, case.seen) for (name, _), case in zip(files, cases, strict=True)])
    facts, _ = model_facts(workspace(), serving)
    inks = label_inks([label.name for label in function_labels(function.id)], current_theme())
    neutral = PAPER[current_theme()].neutral
    verdict = found.verdict
    with card("copies"):
        st.caption("Verdict on these copies of one picture")
        ink = inks[verdict.label].text if verdict.sure else neutral.text
        grade = f'<span class="grade">{escape_html(verdict.grade)}</span>' if verdict.grade != CANT_TELL else ""
        st.html(f'<div class="verdict" style="color:{ink}">{escape_html(verdict.verdict)} {grade}</div>')
        st.markdown(escape(" ".join(filter(None, [found.sentence, verdict.reason]))))
        st.caption(
            "Files that hold more of the picture count more: more pixels of its own, saved with a better quality. The "
            "grade is never above the best that one of them has by itself. It is that of the files as they are: give "
            "one alone to see whether it stays on copies."
        )
        for warning in facts.warnings:
            st.warning(escape(warning.replace(" %", "\N{NO-BREAK SPACE}%")))
        with st.container(key="before-use"):
            st.markdown(f"**Before you use this.** {FIND_THE_FIRST} {NOT_ALONE}")
        _files(found, cases, {name: item.text for name, item in inks.items()}, neutral.text)


def _files(found: Together, cases: Sequence[Case], inks: dict[str, str], neutral: str) -> None:
    for copy in found.copies:
        # Not by its name: what is downloaded from several sites is often called the same.
        case = cases[copy.position]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.image(case.preview, width=96, alt=copy.name)
            said = copy.verdict.verdict
            colour = inks.get(said, neutral)
            st.html(
                f'<div>{escape_html(copy.name)}</div><div style="color:{colour};font-weight:650">{escape_html(said)}'
                f'</div><div class="quiet">{percent(copy.weight, 0)} of the verdict</div>'
                f'<div class="quiet">{escape_html(case.seen.provenance.headline)}</div>'
            )
