"""What can be done with samples in Review: on those selected, or on all that match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape as escape_html
from typing import Any

import streamlit as st

from detector.errors import NothingLeftToTrain
from detector.formatting import count
from detector.gallery.filters import GalleryFilter
from detector.gallery.selection import Gallery
from detector.operations.deletion import empty_bin
from detector.operations.holdout import give_back, put_aside_samples
from detector.operations.labels import give_label
from detector.operations.samples import delete_samples, restore_samples
from detector.operations.sources import set_source
from detector.storage.acting import LABEL, MANAGE, may
from detector.storage.functions import Label
from detector.web.addresses import from_page
from detector.web.exports import Kind, export_path, selection_path
from pages._gallery import select
from pages._review_filters import ReviewState
from pages._sign_in import ticket_here
from pages._state import escape, menu_key, shut, workspace

KEY = "review"
#: From here on a count is named and a person asked before it happens.
_MANY = 100

_KINDS: dict[Kind, str] = {"csv": "Table (CSV)", "zip": "Images in label folders (ZIP)"}

Act = Callable[[list[str]], str]


@dataclass
class Everything:
    """Whether all that match are selected, instead of single tiles; of one browser session.

    Changed without a call of Streamlit, which may stop the run before what was asked for is noted.

    Attributes
    ----------
    on : bool
    asked : str or None
        Id of the label that a key asks for, for all of them; empty to take theirs away, None where nothing is asked.
    """

    on: bool = False
    asked: str | None = None

    def leave(self) -> None:
        """Let only what a person selects be selected again."""
        self.on, self.asked = False, None

    def ask(self, label_id: str | None) -> None:
        """Have the bar name how many they are and ask, whether they shall have a label or lose theirs."""
        if self.on:
            self.asked = label_id or ""


def everything() -> Everything:
    """Of this session."""
    found: Everything = st.session_state.setdefault("everything", Everything())
    return found


def actions(
    gallery: Gallery, function_id: str, view: ReviewState, labels: list[Label], selected: list[str], stacks: int = 0
) -> None:
    """The bar over the gallery; ``stacks`` of the selected samples stand for more that are alike."""
    whole = everything().on and not selected
    matching = gallery.count(view.where)
    n = len(selected) if selected else matching if whole else 0
    with st.container(horizontal=True, vertical_alignment="center", key="review-actions"):
        if whole:
            st.markdown(f"**All {count(matching)} that match**")
        elif selected:
            others = f" · the others of {'its stack' if n == 1 else 'their stacks'} are not" if stacks else ""
            st.markdown(f"**{count(n)} selected**{others}")
        else:
            st.markdown(":gray[Select images, or:]")
        # Always one button here: what stands behind it must keep its place, or an open menu turns into its neighbour.
        words = "Only what I select" if whole else f"Select all {count(matching)} that match"
        st.button(
            words,
            on_click=_everything,
            args=(not whole,),
            type="tertiary",
            key=f"select-all-{function_id}",
            disabled=not (whole or matching),
        )

        def ids() -> list[str]:
            return list(selected) if selected else gallery.ids(view.where, view.order)

        if view.where.bin:
            _binned(function_id, ids, n)
        else:
            _labels(function_id, labels, ids, n)
            _more(function_id, ids, n)
        _downloads(function_id, view, selected, disabled=not (selected or matching))


def _everything(on: bool) -> None:
    everything().leave()
    everything().on = on
    select(KEY, [])


def _labels(function_id: str, labels: list[Label], ids: Callable[[], list[str]], n: int) -> None:
    for label in [*labels, None]:
        name = label.name if label else "no label"
        pressed = st.button(
            escape(name), key=f"give-{label.id if label else f'none-{function_id}'}", disabled=not n or not may(LABEL)
        )
        # By key, on tiles of which most are out of sight: always asked about, and until it is answered.
        by_key = n > 0 and everything().asked == (label.id if label else "")
        if not (pressed or by_key):
            continue
        words = (
            f"give {count(n, 'sample')} the label {name}" if label else f"remove the label from {count(n, 'sample')}"
        )

        def give(chosen: list[str], label: Label | None = label) -> str:
            return give_label(workspace(), function_id, chosen, label).said

        if by_key:
            _confirm(words, ids, give)
        else:
            _do(words, ids, give, n)


def _more(function_id: str, ids: Callable[[], list[str]], n: int) -> None:
    menu = f"more-{function_id}"
    closing: dict[str, Any] = {"width": "stretch", "on_click": shut, "args": (menu,)}
    with st.popover("More", disabled=not n or not may(LABEL), key=menu_key(menu)):
        st.caption(f"With {count(n, 'sample')}:")
        source = st.text_input("Source", key=f"bulk-source-{function_id}", max_chars=200, placeholder="sdxl, camera")
        wanted = source.strip()

        def give_source(chosen: list[str]) -> str:
            changed = set_source(workspace(), function_id, chosen, wanted)
            return f"Source of {count(changed, 'sample')} set to {wanted}."

        def remove_source(chosen: list[str]) -> str:
            changed = set_source(workspace(), function_id, chosen, None)
            return f"Source removed from {count(changed, 'sample')}."

        if st.button("Set source", **closing, key=f"do-set-source-{function_id}", disabled=not wanted):
            _do(f"set the source of {count(n, 'sample')} to {wanted}", ids, give_source, n)
        if st.button("Remove source", **closing, key=f"do-remove-source-{function_id}"):
            # However few: undo brings back labels only.
            _confirm(f"remove the source from {count(n, 'sample')}. Undo cannot bring it back", ids, remove_source)
        for words, put in (("Move to the locked test set", put_aside_samples), ("Move back to training", give_back)):
            if st.button(words, **closing, disabled=not may(MANAGE), key=f"do-{put.__name__}-{function_id}"):

                def move(chosen: list[str], put: Callable[..., int] = put) -> str:
                    try:
                        moved = put(workspace(), function_id, chosen)
                    except NothingLeftToTrain as error:
                        return str(error)
                    following = " A new model follows by itself." if moved else ""
                    return f"{count(moved, 'sample')} moved.{following}"

                _do(f"move {count(n, 'sample')} {words.removeprefix('Move ')}", ids, move, n)
        if st.button(
            "Delete",
            **closing,
            disabled=not may(MANAGE),
            key=f"do-delete-{function_id}",
            help="Moves them to the bin, from where they can be restored.",
        ):

            def delete(chosen: list[str]) -> str:
                return delete_samples(workspace(), function_id, chosen).said

            _do(f"move {count(n, 'sample')} to the bin", ids, delete, n)


def _binned(function_id: str, ids: Callable[[], list[str]], n: int) -> None:
    def restore(chosen: list[str]) -> str:
        return restore_samples(workspace(), function_id, chosen).said

    if st.button("Restore", disabled=not n or not may(MANAGE), key=f"do-restore-{function_id}"):
        _do(f"restore {count(n, 'sample')}", ids, restore, n)
    if st.button("Empty the bin", disabled=not may(MANAGE), key=f"do-empty-{function_id}"):
        whole = Gallery(workspace(), function_id).count(GalleryFilter(bin=True))

        def empty(_chosen: list[str]) -> str:
            return f"{count(empty_bin(workspace(), function_id), 'sample')} deleted for good."

        _confirm(f"delete {count(whole, 'sample')} for good. This cannot be undone", list, empty)


def _do(words: str, ids: Callable[[], list[str]], act: Act, n: int) -> None:
    if n >= _MANY:
        _confirm(words, ids, act)
    else:
        _act(ids, act)


def _dismissed() -> None:
    everything().asked = None


@st.dialog("Are you sure?", on_dismiss=_dismissed)
def _confirm(words: str, ids: Callable[[], list[str]], act: Act) -> None:
    st.markdown(escape(f"This will {words}."))
    if st.button("Do it", type="primary"):
        _act(ids, act)


def _act(ids: Callable[[], list[str]], act: Act) -> None:
    with st.spinner("Working", show_time=True):
        said = act(ids())
    everything().leave()
    st.session_state["review-said"] = said
    st.session_state.pop("review-page", None)
    select(KEY, [])
    st.rerun()


def _downloads(function_id: str, view: ReviewState, selected: list[str], disabled: bool) -> None:
    ws = workspace()
    with st.popover("Download", disabled=disabled):
        st.caption("The images selected:" if selected else "All that match:")
        for kind, words in _KINDS.items():
            if selected:
                path = selection_path(ws, function_id, kind, selected, ticket_here())
            else:
                path = export_path(ws.db, function_id, kind, view.where, view.order, ticket_here())
            st.html(f'<a class="download" href="{escape_html(from_page(path))}" download>{words}</a>')
