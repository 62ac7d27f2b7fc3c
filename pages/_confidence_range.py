"""A histogram of confidences on which one drags the range to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from detector.charts.palette import PAPER
from pages._style import current_theme

_HERE = Path(__file__).parent

_component = st.components.v2.component(
    "detector_confidence_range",
    html=(_HERE / "_confidence_range.html").read_text(encoding="utf-8"),
    css=(_HERE / "_confidence_range.css").read_text(encoding="utf-8"),
    js=(_HERE / "_confidence_range.js").read_text(encoding="utf-8"),
)


def confidence_range(
    counts: Sequence[int], low: float, high: float, key: str, *, label: str = "Confidence"
) -> tuple[float, float]:
    """Show how many samples have which confidence, and return the range chosen.

    The page keeps the range (in the address, say) and passes it in: a choice is returned in the one run that follows
    it, after that the range passed in is what counts.

    Parameters
    ----------
    counts : sequence of int
        Samples per bin; the bins divide 0 to 1 equally. Empty ones at the lower end are not shown: with two labels no
        confidence is under a half.
    low, high : float
        The range at hand, 0 to 1; it lies on the edges of bins.
    key : str
        Of this histogram, unique in the app.
    label : str
        Said before the range.

    Returns
    -------
    tuple of float
        Low and high; ``(0, 1)`` where nothing is left out.
    """
    if not counts:
        return low, high
    bins = len(counts)
    seen: dict[str, int] = st.session_state.setdefault(f"{key}-seen", {})
    report = (st.session_state.get(key) or {}).get("range")
    choice = read_choice(report, seen, bins)
    shown = (choice[0] / bins, choice[1] / bins) if choice is not None else (low, high)
    paper = PAPER[current_theme()]
    _component(
        key=key,
        data={
            "counts": list(counts),
            "start": first_bin(counts),
            "low": round(shown[0] * bins),
            "high": round(shown[1] * bins),
            "label": label,
            "seen": report,
            "paper": {"track": paper.track, "muted": paper.muted, "bar": paper.neutral.fill},
        },
        on_range_change=lambda: None,
    )
    if choice is not None and report is not None:
        # Only now: where the run was stopped before, the next one reads the choice again.
        seen.clear()
        seen[report["load"]] = report["number"]
    return shown


def first_bin(counts: Sequence[int]) -> int:
    """The first bin shown: the first that holds something, and at most a half of all."""
    filled = next((i for i, n in enumerate(counts) if n), len(counts))
    return min(filled, len(counts) // 2)


def read_choice(report: Any, seen: Mapping[str, int], bins: int) -> tuple[int, int] | None:
    """The edges of bins that a new report of the browser names; None where it names nothing new.

    Parameters
    ----------
    report : object
        As it came from the browser.
    seen : mapping of str to int
        Number of the last report read, by page load.
    bins : int
    """
    if not isinstance(report, Mapping):
        return None
    load, number, low, high = (report.get(name) for name in ("load", "number", "low", "high"))
    if not (isinstance(load, str) and isinstance(number, int) and isinstance(low, int) and isinstance(high, int)):
        return None
    if number <= seen.get(load, 0) or not 0 <= low < high <= bins:
        return None
    return low, high
