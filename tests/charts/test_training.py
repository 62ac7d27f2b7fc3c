from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from detector.charts.training import HistoryPoint, sweep, sweep_on_sources, sweep_ranking, training_history
from detector.training.metrics import wilson_interval
from detector.training.sweep import SweepRow


def row(views: str, c: float, log_loss: float, chosen: bool = False, weight: str = "none") -> SweepRow:
    return SweepRow(
        views=views,
        features="statistics",
        scaling="standardise",
        c=c,
        C=c / 100,
        class_weight=weight,
        log_loss=log_loss,
        accuracy=0.9,
        balanced_accuracy=0.9,
        chosen=chosen,
    )


ROWS = [
    row("whole", 10.0, 0.20),
    row("whole", 1.0, 0.25),
    row("both", 10.0, 0.15, chosen=True),
    row("both", 1.0, 0.18),
    row("detail", 1.0, 0.31),
    row("detail", 10.0, 0.30),
]


def test_the_sweep_is_a_line_over_c_for_every_combination() -> None:
    figure = sweep(ROWS)
    lines = {trace.name: trace for trace in figure.data}
    assert list(lines["whole view"].x) == [1.0, 10.0]
    assert list(lines["whole view"].y) == [0.25, 0.20]
    assert set(lines) == {"whole view", "detail view", "both views", "chosen"}


def test_the_winner_of_the_sweep_is_marked_and_named() -> None:
    figure = sweep(ROWS)
    marked = next(trace for trace in figure.data if trace.name == "chosen")
    assert (marked.x[0], marked.y[0]) == (10.0, 0.15)
    words = " ".join(annotation.text for annotation in figure.layout.annotations)
    assert "both views" in words
    assert "log loss 0.150" in words


def test_a_large_setting_is_written_as_people_write_numbers() -> None:
    """Kind: "C 3.16e+03" over the picture."""
    figure = sweep([row("whole", 10**3.5, 0.15, chosen=True), row("whole", 0.0316, 0.2)])
    words = " ".join(annotation.text for annotation in figure.layout.annotations)
    assert "C 3,162 ·" in words
    assert "e+" not in " ".join([words, *map(str, next(iter(figure.data)).text or ())])


def test_the_best_of_every_combination_is_in_the_picture_but_not_every_extreme() -> None:
    figure = sweep([*ROWS, row("both", 1000.0, 9.0)])
    low, high = figure.layout.yaxis.range
    assert low < 0.15
    assert 0.30 < high < 2


def test_the_ranking_says_by_how_much_the_winner_won() -> None:
    figure = sweep_ranking(ROWS)
    assert [trace.name for trace in figure.data] == ["both views", "whole view", "detail view"]
    assert [trace.x[1] for trace in figure.data] == [0.15, 0.20, 0.30]
    assert [annotation.text.split(">")[-2].split("<")[0] for annotation in figure.layout.annotations] == [
        "0.150",
        "+0.050",
        "+0.150",
    ]


def test_the_chosen_one_leads_also_where_a_less_simple_one_is_a_hair_better() -> None:
    figure = sweep_ranking([row("whole", 1.0, 0.15, chosen=True), row("both", 1.0, 0.14999)])
    assert figure.data[0].name == "whole view"


def test_what_is_a_hair_better_than_the_winner_has_no_minus_nought() -> None:
    figure = sweep_ranking([row("whole", 1.0, 0.15, chosen=True), row("both", 1.0, 0.14999), row("detail", 1.0, 0.14)])
    words = " ".join(annotation.text for annotation in figure.layout.annotations)
    assert "+0.000" in words
    assert "-0.000" not in words
    # What is clearly lower, where sources chose the other, says so.
    assert "-0.010" in words


def tried_on_sources() -> list[SweepRow]:
    losses = {("both", 10.0): 0.61, ("both", 1.0): 0.52}
    chosen = ("both", 1.0)
    return [
        replace(item, unseen_log_loss=losses.get((item.views, item.c)), chosen=(item.views, item.c) == chosen)
        for item in ROWS
    ]


def test_both_losses_of_what_was_tried_on_sources_stand_in_the_picture() -> None:
    figure = sweep_on_sources(tried_on_sources())
    assert [(trace.name, trace.x[1]) for trace in figure.data] == [
        ("both views, C 1", 0.52),
        ("both views, C 10", 0.61),
    ]
    first, second = (annotation.text for annotation in figure.layout.annotations)
    assert first.startswith("<b>both views, C 1</b>")
    assert "0.520 · same sources 0.180" in first
    assert "0.610 · same sources 0.150" in second


def test_the_winner_by_sources_is_marked_with_both_losses_and_others_have_one() -> None:
    figure = sweep(tried_on_sources())
    words = " ".join(annotation.text for annotation in figure.layout.annotations)
    assert "log loss 0.180 · on sources left out 0.520" in words
    lines = {trace.name: trace for trace in figure.data}
    assert [entry[2] for entry in lines["both views"].customdata] == [
        "<br>on sources left out 0.520",
        "<br>on sources left out 0.610",
    ]
    assert {entry[2] for entry in lines["whole view"].customdata} == {""}
    assert "sources" not in " ".join(annotation.text for annotation in sweep(ROWS).layout.annotations)


def test_a_long_ranking_says_how_many_there_were() -> None:
    rows = [row(f"view {number}", 1.0, 0.1 + number / 100, chosen=number == 0) for number in range(12)]
    figure = sweep_ranking(rows)
    assert len(figure.data) == 8
    assert "best 8 of 12" in figure.layout.xaxis.title.text


def test_settings_that_do_not_differ_are_not_named() -> None:
    figure = sweep([row("whole", 1.0, 0.2, chosen=True), row("whole", 1.0, 0.3, weight="balanced")])
    assert {trace.name for trace in figure.data} == {"labels as they are", "labels balanced", "chosen"}


def test_a_sweep_of_one_setting_can_be_drawn() -> None:
    only = [row("both", 10.0, 0.2, chosen=True)]
    assert sweep(only).data[0].name == "both views, standardised"
    assert sweep_ranking(only).data[0].x[1] == 0.2


def test_the_history_leaves_out_what_was_not_measured_and_fills_the_live_model() -> None:
    points = [
        HistoryPoint(1, None, 0, None),
        HistoryPoint(2, 0.9, 100, wilson_interval(90, 100)),
        HistoryPoint(4, 0.95, 200, wilson_interval(190, 200), live=True),
    ]
    figure = training_history(points)
    trace = figure.data[0]
    assert list(trace.x) == [2, 4]
    assert list(trace.y) == [0.9, 0.95]
    assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(wilson_interval(90, 100)[0])
    assert trace.marker.color[0] != trace.marker.color[1]
    assert "95.0 %" in next(annotation.text for annotation in figure.layout.annotations if "live" in annotation.text)


def test_a_history_without_any_measured_model_can_be_drawn() -> None:
    assert list(training_history([HistoryPoint(1, None, 0, None, live=True)]).data[0].x) == []


@pytest.mark.slow
def test_drawing_does_not_load_torch() -> None:
    program = "import sys, detector.charts.validation, detector.charts.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
