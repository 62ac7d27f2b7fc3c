"""The table of the Metrics page's figures: each with its card, its place, and the part of the audit that it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from detector.charts.palette import Theme
from detector.evaluation.report import Audit
from detector.storage.models import ModelRow
from detector.training.metrics import CrossValidation
from detector.training.thresholds import Thresholds
from pages._audit import duplicates_line, learning_card, sources_card, stress_card
from pages._coverage import coverage_card
from pages._guessed_sources import guessed_sources
from pages._hardening import hardening_card
from pages._scores import confidences, further_figures, price, promises, verdicts
from pages._versions import sweep

#: From above: two columns, the whole width, two columns, the whole width.
Place = Literal["left", "right", "middle", "lower left", "lower right", "end"]


@dataclass(frozen=True)
class Shown:
    """The model that the page shows, with all that its figures are drawn from.

    ``names`` are all labels of the function in their order, which the colours follow.
    """

    live: ModelRow
    audit: Audit
    cv: CrossValidation
    thresholds: Thresholds | None
    theme: Theme
    names: list[str]

    @property
    def with_sources(self) -> bool:
        """Whether there is a figure of sources. It is long; without it there is room on the right."""
        return self.audit.sources is not None and bool(self.audit.sources.sources)


@dataclass(frozen=True)
class MetricsFigure:
    """One card of the page.

    Attributes
    ----------
    name : str
    draw : callable
        (shown) -> None; draws the card, as `pages._figure.figure_card` does.
    place : Place, or callable
        Where it stands, or (shown) -> that. In one place the order of the table counts.
    part : str
        The part of the audit that it shows, see `detector.evaluation.parts.PARTS`: it is drawn only where that part
        is finished and found something. Empty: it is always drawn.
    """

    name: str
    draw: Callable[[Shown], None]
    place: Place | Callable[[Shown], Place]
    part: str = ""


def _sources(shown: Shown) -> None:
    if shown.with_sources:
        sources_card(shown.audit, shown.names, shown.theme)


_BUILT_IN = (
    MetricsFigure(
        "verdicts",
        lambda shown: verdicts(shown.live.function_id, shown.cv, shown.thresholds, shown.theme, shown.names),
        "left",
    ),
    MetricsFigure("promises", lambda shown: promises(shown.thresholds), "left"),
    MetricsFigure("coverage", lambda shown: coverage_card(shown.live, shown.theme, shown.names), "right"),
    MetricsFigure("roc", lambda shown: price(shown.cv, shown.thresholds, shown.theme, shown.names), "left"),
    # Several parts, one a change; the card itself says where none is finished yet.
    MetricsFigure("stress", lambda shown: stress_card(shown.audit, shown.theme), "right"),
    MetricsFigure("hardening", lambda shown: hardening_card(shown.live), "right"),
    MetricsFigure("sources", _sources, "right", part="sources"),
    MetricsFigure("guessed sources", lambda shown: guessed_sources(shown.live.function_id), "right"),
    MetricsFigure(
        "learning",
        lambda shown: learning_card(shown.audit, shown.theme),
        lambda shown: "left" if shown.with_sources else "right",
        part="learning_curve",
    ),
    MetricsFigure(
        "duplicates",
        lambda shown: duplicates_line(shown.audit),
        lambda shown: "middle" if shown.with_sources else "left",
        part="duplicates",
    ),
    MetricsFigure(
        "labels and confusions", lambda shown: further_figures(shown.cv, shown.theme, shown.names), "lower left"
    ),
    MetricsFigure("confidences", lambda shown: confidences(shown.cv, shown.theme, shown.names), "lower right"),
    MetricsFigure("sweep", lambda shown: sweep(shown.live, shown.theme), "end"),
)

#: By name, from above.
FIGURES: dict[str, MetricsFigure] = {figure.name: figure for figure in _BUILT_IN}


def draw_figures(shown: Shown) -> None:
    """Draw all figures of the table that have something to show, each in its place."""
    drawn: dict[Place, list[MetricsFigure]] = {}
    for figure in FIGURES.values():
        if not figure.part or shown.audit.results.get(figure.part) is not None:
            place = figure.place if isinstance(figure.place, str) else figure.place(shown)
            drawn.setdefault(place, []).append(figure)

    def fill(place: Place) -> None:
        for figure in drawn.get(place, []):
            figure.draw(shown)

    left, right = st.columns(2)
    with left:
        fill("left")
    with right:
        fill("right")
    fill("middle")
    left, right = st.columns(2)
    with left:
        fill("lower left")
    with right:
        fill("lower right")
    fill("end")
