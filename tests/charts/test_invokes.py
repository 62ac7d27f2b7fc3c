"""The figure of what was invoked, day by day."""

from __future__ import annotations

from datetime import date

import pytest

from detector.charts.invokes import invokes_by_day
from detector.charts.palette import PAPER, Theme, label_ink
from detector.storage.invoke_days import InvokeDay
from detector.training.thresholds import CANT_TELL

NAMES = {"r": "real", "s": "syn<b>thetic"}
LABELS = tuple(NAMES.values())
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 4)


def day(number: int, said: dict[str, int], door: str = "api") -> InvokeDay:
    return InvokeDay("f", f"2026-11-{number:02}", door, "m", sum(said.values()), {"said": said})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_bar_a_day_is_stacked_of_labels_and_grades_over_all_doors(theme: Theme) -> None:
    days = [
        day(1, {"strong r": 3, "moderate r": 2, CANT_TELL: 1}),
        day(1, {"strong r": 4, "strong s": 1}, "page"),
        day(4, {"strong s": 5}),
        # Not shown.
        day(9, {"strong s": 90}),
    ]
    figure = invokes_by_day(days, FIRST, LAST, NAMES, LABELS, theme)
    bars = {bar.name: bar for bar in figure.data}
    assert list(bars) == ["real, strong", "real, moderate", "syn<b>thetic, strong", CANT_TELL]
    assert bars["real, strong"].y == (7, 0, 0, 0)
    assert bars["syn<b>thetic, strong"].y == (1, 0, 0, 5)
    assert bars["real, strong"].x == ("2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04")
    assert bars["real, strong"].marker.color == label_ink("real", LABELS, theme).fill
    assert bars["real, moderate"].marker.color != bars["real, strong"].marker.color
    assert bars[CANT_TELL].marker.color != PAPER[theme].text
    assert figure.layout.barmode == "stack"
    said = bars["syn<b>thetic, strong"].customdata[3]
    assert said == "4 November: 5 pictures, syn&lt;b&gt;thetic, strong"
    words = " ".join(note.text for note in figure.layout.annotations)
    assert all(part in words for part in ("<b>real</b>", "syn&lt;b&gt;thetic", CANT_TELL))


def test_a_label_that_was_deleted_is_drawn_grey_and_says_so() -> None:
    figure = invokes_by_day([day(2, {"strong gone": 2})], FIRST, LAST, NAMES, LABELS)
    [bar] = figure.data
    assert bar.name == "a label that was deleted since, strong"
    assert bar.marker.color == PAPER["light"].neutral.fill


def test_days_without_invokes_are_an_empty_figure() -> None:
    assert not invokes_by_day([], FIRST, LAST, NAMES, LABELS).data
