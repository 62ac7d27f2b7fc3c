"""Which invoked pictures a function puts among its samples by itself: the settings, behind one fold."""

from __future__ import annotations

import streamlit as st

from detector.formatting import count, limit
from detector.importing.run_files import KEPT_DAYS
from detector.operations.capture import MOST_A_MONTH, CaptureSettings, change_capture
from detector.storage.acting import MANAGE, may
from detector.storage.captured import captured_this_month
from detector.storage.database import now
from detector.storage.functions import Function
from pages._state import escape, workspace

_HELP = (
    "Pictures that the function cannot judge, or that are unlike its samples, teach it most once they have a label. "
    "Captured pictures are kept as samples without a label; they wait in the inbox of Review. This counts for the "
    "Invoke page and the API."
)


def capture_fold(function: Function) -> None:
    """Show and change the settings."""
    known = CaptureSettings.of(function)
    with st.expander(f"Captured by itself: {escape(_said(known))}", key=f"capture-open-{function.id}"):
        # Other widgets when it is changed elsewhere: else this page would change it back.
        key = f"{function.id}-{known}"
        st.caption(_HELP)
        low_grade = st.toggle(
            "Pictures that got can't tell", known.low_grade, disabled=not may(MANAGE), key=f"capture-low-{key}"
        )
        unlike = st.toggle(
            "Pictures unlike the samples", known.unlike, disabled=not may(MANAGE), key=f"capture-unlike-{key}"
        )
        with st.container(horizontal=True):
            share = st.number_input(
                "Of all others, in percent",
                0.0,
                100.0,
                round(100 * known.random_share, 6),
                step=1.0,
                format="%.1f",
                disabled=not may(MANAGE),
                key=f"capture-share-{key}",
                help="Drawn by the picture itself: the same picture is always drawn, or never. Such pictures show "
                "how often the function is wrong where it is used.",
                width=200,
            )
            a_month = st.number_input(
                "At most, a month",
                1,
                MOST_A_MONTH,
                known.a_month,
                step=50,
                disabled=not may(MANAGE),
                key=f"capture-month-{key}",
                help="After that none is captured by itself until the next month begins (UTC).",
                width=200,
            )
        wanted = CaptureSettings(low_grade, unlike, round(share / 100, 6), int(a_month))
        if wanted != known:
            change_capture(workspace(), function.id, wanted)
            st.rerun()
        if known.on:
            so_far = captured_this_month(workspace().db, function.id, now())
            st.caption(f"{count(so_far, 'picture')} captured this month, of {known.a_month:,} at most.")


def keeping_sentence(function: Function) -> str:
    """What becomes of a picture that is given to Invoke, so that nobody is taken by surprise."""
    known, said = CaptureSettings.of(function), []
    if function.keep_records:
        until = "until it is deleted" if function.keep_days is None else f"for {count(function.keep_days, 'day')}"
        said.append(
            "By the settings of this function each verdict is kept as a record with a small copy of the picture, "
            f"{until}."
        )
    if known.on:
        setting = "Some pictures" if said else "By the settings of this function some"
        said.append(f"{setting} are kept as samples without a label: {_said(known)}.")
    unasked = "" if said else " and is not kept unless you ask for it"
    kept = f"for {count(KEPT_DAYS, 'day')} or until you delete it"
    run = f"Several different files become a run, whose files are kept {kept}."
    return " ".join((f"The picture stays on this machine{unasked}.", *said, run))


def _said(settings: CaptureSettings) -> str:
    """The settings in a few words."""
    parts = ["can't tell"] if settings.low_grade else []
    parts += ["unlike the samples"] if settings.unlike else []
    parts += [f"{limit(settings.random_share)} at random"] if settings.random_share else []
    return ", ".join(parts) or "nothing"
