"""Invoke's fold with the limit on false accusations: how often it may accuse falsely, and what that costs."""

from __future__ import annotations

import streamlit as st

from detector.formatting import limit, share
from detector.operations.false_accusations import set_false_accusation_limit
from detector.operations.sample_function import sample_limit_note
from detector.serving.thresholds import why_never_sure
from detector.storage.acting import MANAGE, may
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.training.thresholds import (
    CANT_TELL,
    HIGHEST_FALSE_ACCUSATION_LIMIT,
    LOWEST_FALSE_ACCUSATION_LIMIT,
    Thresholds,
)
from pages._state import escape, import_link, workspace


def limit_fold(function: Function, model: ModelRow) -> None:
    """How often it may accuse falsely, and how often it will then say nothing."""
    with st.expander(
        f"False-accusation limit: at most {limit(function.false_accusation_limit)} wrongly labelled",
        # Or the fold, told apart by its words, would shut with every change of the limit.
        key=f"limit-open-{function.id}",
    ):
        wanted = st.number_input(
            "False-accusation limit, in percent",
            100 * LOWEST_FALSE_ACCUSATION_LIMIT,
            100 * HIGHEST_FALSE_ACCUSATION_LIMIT,
            100 * function.false_accusation_limit,
            step=0.5,
            format="%.1f",
            # Another one when it is changed elsewhere: else this page would change it back.
            disabled=not may(MANAGE),
            key=f"limit-{function.id}-{function.false_accusation_limit}",
            help="A label may wrongly be given to at most this share of the images of any other label. A lower limit "
            'means more "can\'t tell" answers. No training is needed.',
            width=220,
        )
        if abs(wanted / 100 - function.false_accusation_limit) > 1e-9:
            set_false_accusation_limit(workspace(), function.id, round(wanted / 100, 6))
            st.rerun()
        if function.is_simulation:
            st.caption(sample_limit_note())
        if model.thresholds is None:
            st.caption(escape(why_never_sure(workspace(), model)))
            import_link(function.id)
            return
        found = Thresholds.from_json(model.thresholds)
        for name, counts in found.counts.items():
            n = sum(counts.values())
            parts = [f"{share(counts[verdict], n)} {verdict}" for verdict in (*found.label_names, CANT_TELL)]
            st.caption(f"Of the images labelled {escape(name)} it said: {escape(', '.join(parts))}. Out-of-fold.")
        notes = [found.too_few()] if not found.above else found.notes
        for note in notes:
            st.caption(escape(note))
        if notes:
            import_link(function.id)
