"""The Metrics page's card of what the function was asked about lately, and whether that is still like its samples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import streamlit as st

from detector.charts.invokes import invokes_by_day
from detector.charts.palette import Theme
from detector.evaluation.drift import FEWEST, WINDOWS, Drift, drift_of
from detector.formatting import count
from detector.serving.invoke_counts import API, PAGE
from detector.storage.database import now
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from pages._capture import capture_fold
from pages._figure import plot
from pages._state import escape, function_labels, workspace
from pages._style import card

_DAYS = max(WINDOWS)
_EXPLAIN = (
    "Every verdict given on the Invoke page and through the API is counted: which label, how sure, and how large the "
    "picture was and how it was saved. Only counts are kept, by day; nothing of a picture, no name, no address.\n\n"
    "The counts of the last 7 and 30 days are compared with the labelled samples of the model, judged while it had not "
    "seen them. A difference is shown where it is large (a population stability index above 0.25) and chance alone "
    f"would make one so large less than once in 1,000 times. Below {FEWEST} verdicts nothing is said."
)
_DOORS = {API: "through the API", PAGE: "on the Invoke page"}


def drift_card(function: Function, live: ModelRow, theme: Theme) -> None:
    """What was invoked by day, what has changed against the samples, and which pictures are captured."""
    found = drift_of(workspace(), live)
    with card("invokes"):
        st.markdown("**Invokes over time**", help=_EXPLAIN)
        if not found.days:
            st.caption(
                f"Nothing was invoked in the last {_DAYS} days. Here you will see, day by day, what verdicts the "
                "function gave, and whether the pictures are still like your samples."
            )
        else:
            if found.warning:
                st.warning(escape(found.warning))
            labels = function_labels(function.id)
            last = datetime.fromtimestamp(now(), UTC).date()
            plot(
                invokes_by_day(
                    found.days,
                    last - timedelta(days=_DAYS - 1),
                    last,
                    {label.id: label.name for label in labels},
                    [label.name for label in labels],
                    theme,
                ),
                "invokes-by-day",
            )
            st.caption(escape(_below(found, live)))
        capture_fold(function)


def _below(found: Drift, live: ModelRow) -> str:
    total = sum(item.count for item in found.days)
    doors = [
        f"{sum(item.count for item in found.days if item.door == door):,} {words}"
        for door, words in _DOORS.items()
        if any(item.door == door for item in found.days)
    ]
    said = f"{count(total, 'verdict')} in the last {_DAYS} days (UTC): {', '.join(doors)}."
    if not found.decides:
        few = f"only {found.invokes:,} of them from model {live.version}" if found.invokes < FEWEST else "few samples"
        return f"{said} Too little to compare with your samples ({few}); that takes {FEWEST}."
    if not found.changes:
        return f"{said} In size, file and confidence the pictures are like the samples of model {live.version}."
    return said
