from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import pytest

from detector.charts import audit as charts
from detector.charts.palette import Theme, label_ink
from detector.evaluation.results import LearningCurve, LearningPoint, SourceScore, StressScore
from detector.training.thresholds import CANT_TELL, Thresholds

LABELS = ("real", "synthetic")


def words(figure: go.Figure) -> str:
    return " ".join(note.text for note in figure.layout.annotations)


def source(name: str, label: str, n: int, unseen: float | None) -> SourceScore:
    return SourceScore(name, label, n, 0.95, unseen, (0.5, 0.98), (0.9, 0.98))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_source_is_a_dot_never_seen_with_its_interval_and_a_ring_seen(theme: Theme) -> None:
    figure = charts.unseen_sources(
        [source("a<b>", "synthetic", 40, 0.7), source("cam", "real", 9, None)], LABELS, theme
    )
    ring, dot, only_ring = figure.data
    assert (dot.x, dot.y) == ((0.7,), (0,))
    assert (dot.x[0] - dot.error_x.arrayminus[0], dot.x[0] + dot.error_x.array[0]) == pytest.approx((0.5, 0.98))
    assert dot.marker.color == label_ink("synthetic", LABELS, theme).fill
    assert (ring.x, only_ring.x, only_ring.y) == ((0.95,), (0.95,), (1,))
    assert "a&lt;b&gt;" in words(figure)
    assert "never seen 70 %" in words(figure)
    assert "40" in words(figure)


def test_of_many_sources_the_largest_are_drawn_in_their_order() -> None:
    rows = [source(f"s{i}", "synthetic", 10 + (7 * i) % 30, 0.9) for i in range(30)]
    drawn = charts.drawn_sources(rows)
    assert len(drawn) == charts.MOST_SOURCES
    assert min(row.n for row in drawn) >= max(row.n for row in rows if row not in drawn)
    assert [rows.index(row) for row in drawn] == sorted(rows.index(row) for row in drawn)


def test_stress_bars_begin_with_the_samples_as_imported() -> None:
    scores = [
        StressScore("jpeg-75", 500, 2000, 0.92, (0.9, 0.94), 0.95, 0.03),
        StressScore("messenger", 500, 2000, 0.84, (0.8, 0.87), 0.95, 0.11),
    ]
    figure = charts.stress(scores)
    (bars,) = figure.data
    assert bars.y == ("as imported", "JPEG 75", "messenger")
    assert bars.x == (0.95, 0.92, 0.84)
    assert words(figure) == "95.0 % 92.0 % 84.0 %"
    assert [x + more for x, more in zip(bars.x, bars.error_x.array, strict=True)][1:] == pytest.approx([0.94, 0.87])
    assert [x - less for x, less in zip(bars.x, bars.error_x.arrayminus, strict=True)][1:] == pytest.approx([0.9, 0.8])
    # 475 of 500.
    assert bars.x[0] - bars.error_x.arrayminus[0] == pytest.approx(0.9272, abs=1e-4)
    assert "11.0 % of the verdicts changed" in bars.customdata[2]


def test_the_parts_of_a_bar_are_the_verdicts_on_a_label_right_ones_first() -> None:
    counts = {
        "real": {"real": 80, "synthetic": 2, CANT_TELL: 18},
        "synthetic": {"real": 0, "synthetic": 30, CANT_TELL: 10},
    }
    figure = charts.verdict_shares(Thresholds(0.02, LABELS, {"real": 0.9, "synthetic": 0.9}, counts, ()))
    assert [(bar.name, bar.x[0]) for bar in figure.data] == [
        ("real, real", 0.8),
        ("real, can't tell", 0.18),
        ("real, synthetic", 0.02),
        ("synthetic, synthetic", 0.75),
        ("synthetic, can't tell", 0.25),
        ("synthetic, real", 0.0),
    ]
    assert "can't tell 18.0 %" in words(figure)
    assert "real 0.0 %" not in words(figure)


def curve(gain: float | None, sizes: Sequence[int] = (50, 100)) -> LearningCurve:
    points = tuple(LearningPoint(n, 0.8 + n / 1000, (0.75 + n / 1000, 0.85 + n / 1000)) for n in sizes)
    bounds = None if gain is None else (0.0, 0.02)
    return LearningCurve(points, 5, 5, 125, 20, gain, bounds, "")


def test_a_learning_curve_has_its_band_and_its_forecast() -> None:
    band, forecast, line = charts.learning_curve(curve(0.01)).data
    assert band.fill == "toself"
    assert line.x == (50, 100)
    assert line.y == pytest.approx((0.85, 0.9))
    # Of 125 images the folds leave 100 to train on; the forecast is about 20 more than all of them.
    assert (forecast.x[0], forecast.x[-1]) == (100, 145)
    # The error fell from 0.15 to 0.1 with twice the images, so it falls by the power of log2(1.5).
    assert forecast.y == pytest.approx([1 - 0.1 * (x / 100) ** -np.log2(1.5) for x in forecast.x])
    assert len(charts.learning_curve(curve(None)).data) == 2
