"""The offer to make two labels one that are one name in two spellings; nothing happens by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from detector.errors import DetectorError
from detector.formatting import count, listed
from detector.operations.labels import merge_labels
from detector.storage import functions, samples
from detector.storage.acting import MANAGE, may
from detector.storage.functions import Label
from detector.storage.label_twins import spelling_note, twins_among
from pages._review_filters import reset_widgets
from pages._state import escape, workspace
from pages._style import card

#: Conditions of the address that name a label.
_BY_LABEL = ("label", "says", "verdict")


def label_twins(function_id: str, labels: Sequence[Label]) -> None:
    """Say which labels are one name, and offer to merge them; draws nothing where there are none."""
    groups = twins_among(labels)
    if not groups:
        return
    counts = samples.count_by(workspace().db, function_id).by_label
    for group in groups:
        with card(f"twins-{group[0].id}"):
            st.markdown(escape(_sentence(group, counts)))
            with st.container(horizontal=True):
                for label in group:
                    if st.button(
                        escape(f"Merge into {_shown(label)}"), disabled=not may(MANAGE), key=f"merge-into-{label.id}"
                    ):
                        _confirm(function_id, [other for other in group if other is not label], label, counts)


def _sentence(group: Sequence[Label], counts: Mapping[str, int]) -> str:
    names = listed(_shown(label) for label in group)
    images = f"{listed(f'{counts.get(label.id, 0):,}' for label in group)} images"
    spellings = "two" if len(group) == 2 else str(len(group))
    return f"{names} are one name in {spellings} spellings: {images}, which are trained as different labels."


def _shown(label: Label) -> str:
    note = spelling_note(label.name)
    return f"{label.name} ({note})" if note else label.name


@st.dialog("Merge the spellings?", on_dismiss="rerun")
def _confirm(function_id: str, gone: Sequence[Label], kept: Label, counts: Mapping[str, int]) -> None:
    images = count(sum(counts.get(label.id, 0) for label in gone), "image")
    names = listed(_shown(label) for label in gone)
    st.markdown(
        escape(
            f"{images} labelled {names} will be labelled {_shown(kept)}, those in the bin too, and the label {names} "
            "is deleted. This cannot be undone."
        )
    )
    if not st.button("Merge", type="primary"):
        return
    try:
        outcome = merge_labels(workspace(), gone, kept)
    except DetectorError as error:
        st.error(escape(str(error)))
        return
    finally:
        # Where one of several could not be merged, those before it are gone all the same.
        _follow(function_id, gone, kept)
    st.session_state["review-said"] = outcome.said
    st.session_state.pop("review-page", None)
    st.rerun()


def _follow(function_id: str, gone: Sequence[Label], kept: Label) -> None:
    """Have the address name the label that was kept instead of one that is gone."""
    there = {label.id for label in functions.list_labels(workspace().db, function_id)}
    merged = {label.id for label in gone} - there
    for name in _BY_LABEL:
        if st.query_params.get(name) in merged:
            st.query_params[name] = kept.id
            reset_widgets()
