"""The sidebar: the name, the function at hand, the pages, what runs in the background, the backbone. Nothing else."""

from __future__ import annotations

import hashlib

import streamlit as st

from detector.backbones import get_spec
from detector.errors import InvalidInput
from detector.formatting import count, rate_of
from detector.storage import functions
from detector.storage.functions import FunctionSummary
from pages._account import account
from pages._jobs import running_jobs
from pages._page_watch import watch_page
from pages._sign_in import pages_here
from pages._state import current_function, escape, names_another, workspace
from pages._style import card

_BRAND = (
    '<div class="brand"><span class="brand-mark" aria-hidden="true"></span>'
    '<span class="brand-name">AI Image Detector</span></div>'
)


def sidebar(at_hand: str) -> None:
    """Draw it; call it once, before the page. ``at_hand`` is the title of the page that will be shown."""
    with st.sidebar:
        st.html(_BRAND)
        chosen = current_function()
        if chosen is not None or names_another(chosen):
            _function_card(chosen)
        # One that is not there goes along: another one comes in its place only where a person chooses it.
        wanted = st.query_params.get("function")
        query = {"function": wanted} if wanted is not None else None
        with st.container(key="pages"):
            for script, title, _ in pages_here():
                with st.container(key="page-at-hand" if title == at_hand else f"page-{title.lower()}"):
                    st.page_link(script, label=title, query_params=query)
        running_jobs(chosen.function.id if chosen is not None else None)
        if chosen is not None:
            _backbone_line(chosen)
        account()
        watch_page()


def _function_card(chosen: FunctionSummary | None) -> None:
    """The function at hand and the way to another; None: the one that the address names is not there."""
    shown = {item.function.id: item.shown for item in functions.list_functions(workspace().db)}
    at_hand = chosen.function.id if chosen is not None else None
    # The browser tells the chosen one by its text. So no two texts are the same, and where one of them comes to mean
    # another function the box is another one: what was chosen in the old one is not read by the new names.
    key = f"function-choice-{at_hand}-{hashlib.sha256(repr(shown).encode()).hexdigest()[:16]}"
    with card("function"):
        st.selectbox(
            "Function",
            list(shown),
            index=list(shown).index(at_hand) if at_hand is not None else None,
            format_func=lambda function_id: shown.get(function_id, function_id),
            placeholder="Choose a function",
            key=key,
            on_change=_switch,
            args=(key, at_hand),
        )
        st.caption(summary_line(chosen) if chosen is not None else "The one in the address does not exist.")


def summary_line(item: FunctionSummary) -> str:
    """ "2,000 samples · 94.9 % right" or what stands in for the accuracy."""
    if item.accuracy is not None:
        quality = f"{rate_of(item.accuracy, item.accuracy_n)} right{accuracy_caveat(item)}"
    elif item.model_version is not None:
        quality = "not validated"
    else:
        quality = "no model yet"
    return f"{count(item.sample_count, 'sample')} · {quality}"


def accuracy_caveat(item: FunctionSummary) -> str:
    """Why an accuracy says little, to stand behind it; empty where nothing speaks against it."""
    if not item.shortcut:
        return ""
    return ", but detail or compression reveals the label" if item.normalised else ", but the files reveal the label"


def _switch(key: str, at_hand: str | None) -> None:
    """Go to the function chosen; what else the address says is of the one before.

    A tick of a clock that left the browser before another function was shown brings the box of then along, which is a
    change to Streamlit: the box was forgotten meanwhile. It says the function that it was drawn for; nobody chose that.
    """
    if (wanted := st.session_state[key]) and wanted != at_hand:
        st.query_params.from_dict({"function": wanted})


def _backbone_line(chosen: FunctionSummary) -> None:
    try:
        title = get_spec(chosen.function.backbone_id).title
    except InvalidInput:
        title = chosen.function.backbone_id
    st.caption(escape(title), help=escape(chosen.function.backbone_reason) or None)
