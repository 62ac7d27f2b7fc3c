"""The sidebar: the name, the function at hand, the pages, what runs in the background, the backbone. Nothing else."""

from __future__ import annotations

import streamlit as st

from detector.backbones import get_spec
from detector.errors import InvalidInput
from detector.storage import functions
from detector.storage.functions import FunctionSummary
from detector.words import count, rate_of
from pages._jobs import running_jobs
from pages._state import PAGES, current_function, escape, workspace
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
        if chosen is not None:
            _function_card(chosen)
        query = {"function": chosen.function.id} if chosen is not None else None
        with st.container(key="pages"):
            for script, title, _ in PAGES:
                with st.container(key="page-at-hand" if title == at_hand else f"page-{title.lower()}"):
                    st.page_link(script, label=title, query_params=query)
        running_jobs(chosen.function.id if chosen is not None else None)
        if chosen is not None:
            _backbone_line(chosen)


def _function_card(chosen: FunctionSummary) -> None:
    found = {item.function.id: item for item in functions.list_functions(workspace().db)}
    with card("function"):
        st.selectbox(
            "Function",
            list(found),
            index=list(found).index(chosen.function.id),
            format_func=lambda function_id: found[function_id].function.name,
            key=f"function-choice-{chosen.function.id}",
            on_change=_switch,
            args=(f"function-choice-{chosen.function.id}",),
        )
        st.caption(summary_line(chosen))


def summary_line(item: FunctionSummary) -> str:
    """ "2,000 samples · 94.9 % right" or what stands in for the accuracy."""
    if item.accuracy is not None:
        quality = f"{rate_of(item.accuracy, item.accuracy_n)} right{but(item)}"
    elif item.model_version is not None:
        quality = "not validated"
    else:
        quality = "no model yet"
    return f"{count(item.sample_count, 'sample')} · {quality}"


def but(item: FunctionSummary) -> str:
    """Why an accuracy says little, to stand behind it; empty where nothing speaks against it."""
    if not item.shortcut:
        return ""
    return ", but detail or compression gives it away" if item.normalised else ", but the files give it away"


def _switch(key: str) -> None:
    st.query_params["function"] = st.session_state[key]


def _backbone_line(chosen: FunctionSummary) -> None:
    try:
        title = get_spec(chosen.function.backbone_id).title
    except InvalidInput:
        title = chosen.function.backbone_id
    st.caption(escape(title), help=escape(chosen.function.backbone_reason) or None)
