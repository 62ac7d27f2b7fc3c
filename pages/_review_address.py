"""The address of Review: all that is shown is in it, and a step back in the browser's history is taken."""

from __future__ import annotations

import json

import streamlit as st

from pages._gallery import select
from pages._review_actions import KEY, everything
from pages._review_filters import ReviewState, reset_widgets, round_of_widgets

#: How the keys of buttons begin: they are true in the run of their click only, and say nothing of the run after it.
_BUTTONS = ("give-", "do-", "select-all")
_OTHERS = ("turned-to-", "bulk-")


def take_over() -> None:
    """Follow the browser where a person went back or forward in its history; call it before anything is drawn.

    The widgets keep what they say, and what they say is written into the address: without this a step back would be
    undone at once. But of two quick choices the browser sends the second with the address from before the first, which
    looks the same, so an address is only followed where nothing on the page was touched since the last run that ended.
    """
    written = st.session_state.get("review-place")
    if written is None or st.query_params.to_dict() == _whole(written, st.session_state["review-page-number"]):
        return
    before = st.session_state.get("review-widgets", {})
    # After a step the widgets are new ones: of two quick steps the first may be stopped before it has noted them.
    new = st.session_state.get("review-followed") == round_of_widgets()
    if any(before.get(name) != value for name, value in _widgets().items() if name in before or not new):
        return
    _unselect()
    function = st.query_params.get("function")
    view = ReviewState.from_query(st.query_params.to_dict())
    st.session_state["review-place"] = {**({"function": function} if function else {}), **view.to_query()}
    reset_widgets()
    st.session_state["review-followed"] = round_of_widgets()


def page_number(pages: int, place: dict[str, str]) -> int:
    """The page at hand, after drawing the choice of one; other filters or another order start at the first one."""
    wanted = st.query_params.get("page", "")
    if st.session_state.get("review-place", place) != place:
        wanted = ""
    page = int(wanted) if wanted.isdecimal() and len(wanted) < 9 else 1
    key = f"turned-to-{pages}-{round_of_widgets()}-{'-'.join(f'{name}={value}' for name, value in place.items())}"
    step = st.session_state.pop("review-step", 0)
    if step:
        page = st.session_state.get(key, page) + step
    page = min(max(page, 1), pages)
    if pages == 1:
        return 1
    if step:
        st.session_state[key] = page
    return st.pagination(pages, default=page, key=key)


def keep_address(place: dict[str, str], page: int) -> None:
    """Write all that is shown into the address, once and whole on every run.

    Of two quick choices the browser sends the second with the address from before the first: an address that is changed
    piece by piece would lose the first.
    """
    whole = _whole(place, page)
    if st.query_params.to_dict() != whole:
        st.query_params.from_dict(whole)
        st.session_state.pop("review-followed", None)
    if st.session_state.get("review-place", place) != place:
        # What was selected elsewhere is no longer in sight.
        _unselect()
    st.session_state["review-place"], st.session_state["review-page-number"] = place, page


def remember_widgets() -> None:
    """Note what all widgets say, for `take_over`; the last call of a run."""
    st.session_state["review-widgets"] = _widgets()


def _whole(place: dict[str, str], page: int) -> dict[str, str]:
    return {**place, **({"page": str(page)} if page > 1 else {})}


def _unselect() -> None:
    select(KEY, [])
    everything().leave()


def _widgets() -> dict[str, str]:
    """All that a person can touch on the page, as text."""
    found = {}
    for key, value in st.session_state.items():
        name = str(key)
        is_filter = name.endswith(f"-{round_of_widgets()}")
        if name == KEY or is_filter or name.startswith(_OTHERS) or (value and name.startswith(_BUTTONS)):
            found[name] = json.dumps(value, sort_keys=True)
    return found
