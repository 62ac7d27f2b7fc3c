from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest

from detector.charts import validation as validation_charts
from detector.charts.palette import PAPER, Theme, label_inks
from detector.training.metrics import CrossValidation, cross_validation_metrics

Draw = Callable[[CrossValidation, Theme], go.Figure]
EVERY: list[Draw] = [
    validation_charts.label_accuracy,
    validation_charts.confusion,
    validation_charts.roc,
    validation_charts.precision_recall,
    validation_charts.confidence_histogram,
    validation_charts.reliability,
]


def cross_validation(names: list[str], n: int = 300) -> CrossValidation:
    rng = np.random.default_rng(7)
    y = np.concatenate([np.arange(len(names)), rng.integers(0, len(names), n - len(names))])
    logits = rng.normal(size=(n, len(names)))
    logits[np.arange(n), y] += 2
    prob = np.exp(logits)
    return cross_validation_metrics(prob / prob.sum(axis=1, keepdims=True), y, names, folds=5)


@pytest.fixture(name="cv")
def _two_labels() -> CrossValidation:
    return cross_validation(["real", "synthetic"])


def words(figure: go.Figure) -> str:
    return " ".join(annotation.text for annotation in figure.layout.annotations)


def test_the_accuracy_of_a_label_stands_with_its_interval_and_count(cv: CrossValidation) -> None:
    figure = validation_charts.label_accuracy(cv)
    for trace, (name, score) in zip(figure.data, cv.labels.items(), strict=True):
        assert trace.name == name
        assert trace.x[0] == score.accuracy
        assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(score.interval[0])
        assert trace.x[0] + trace.error_x.array[0] == pytest.approx(score.interval[1])
        assert f"{score.correct} of {score.n}" in words(figure)
        assert figure.layout.xaxis.range[0] < score.interval[0]


def test_the_confusion_matrix_has_annotated_labels_as_rows_from_the_top(cv: CrossValidation) -> None:
    figure = validation_charts.confusion(cv)
    assert tuple(tuple(row) for row in figure.data[0].z) == cv.confusion
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    assert list(figure.layout.yaxis.ticktext) == ["real", "synthetic"]
    assert f"{cv.confusion[0][1]}" in words(figure)


@pytest.mark.parametrize("synthetic", ["synthetic", "Synthetic"])
def test_two_labels_give_one_roc_curve_that_of_synthetic(synthetic: str) -> None:
    """In whatever case: the kind is names that are compared letter by letter."""
    cv = cross_validation([synthetic, "real"])
    figure = validation_charts.roc(cv)
    assert len(figure.data) == 1
    assert tuple(figure.data[0].x) == cv.curves[synthetic].false_positive_rate
    assert tuple(figure.data[0].y) == cv.curves[synthetic].true_positive_rate
    assert f"{cv.curves[synthetic].roc_auc:.3f}" in words(figure)


def test_more_labels_give_a_curve_each_in_their_colour() -> None:
    names = ["real", "midjourney", "scan"]
    cv = cross_validation(names)
    inks = label_inks(names)
    for figure in (validation_charts.roc(cv), validation_charts.precision_recall(cv)):
        assert [(trace.name, trace.line.color) for trace in figure.data] == [(name, inks[name].fill) for name in names]


def test_colours_follow_the_function_and_not_the_model() -> None:
    cv = cross_validation(["real", "scan"])
    every = ["drawing", "real", "scan"]
    drawn = validation_charts.label_accuracy(cv, "light", every).data[1].marker.color
    assert drawn == label_inks(every)["scan"].fill != label_inks(["real", "scan"])["scan"].fill


def test_precision_and_recall_are_those_measured(cv: CrossValidation) -> None:
    figure = validation_charts.precision_recall(cv)
    assert tuple(figure.data[0].x) == cv.curves["synthetic"].recall
    assert tuple(figure.data[0].y[1:]) == cv.curves["synthetic"].precision[1:]
    assert f"{cv.curves['synthetic'].average_precision:.3f}" in words(figure)


def test_precision_begins_with_that_of_the_most_confident_samples() -> None:
    """The curve began at 100 % although the sample it was surest of was wrong."""
    score = np.array([0.9, 0.8, 0.7, 0.6])
    cv = cross_validation_metrics(
        np.column_stack([1 - score, score]), np.array([0, 1, 1, 0]), ["real", "synthetic"], folds=2
    )
    assert validation_charts.precision_recall(cv).data[0].y[0] == 0.0


@pytest.mark.parametrize(
    ("y", "roc", "precision"),
    [([0, 0, 1, 1], ("right", "bottom"), ("left", "bottom")), ([1, 1, 0, 0], ("left", "top"), ("right", "bottom"))],
)
def test_the_words_on_a_curve_stand_where_it_is_not(
    y: list[int], roc: tuple[str, str], precision: tuple[str, str]
) -> None:
    """Of a good function the wanted corner is empty; of one that is wrong all along the other one is."""
    score = np.array([0.1, 0.2, 0.8, 0.9])
    cv = cross_validation_metrics(np.column_stack([1 - score, score]), np.array(y), ["real", "synthetic"], folds=2)
    for figure, corner in ((validation_charts.roc(cv), roc), (validation_charts.precision_recall(cv), precision)):
        (key,) = [note for note in figure.layout.annotations if "4 samples" in note.text]
        assert (key.xanchor, key.yanchor) == corner


def test_the_histogram_counts_right_upwards_and_wrong_downwards(cv: CrossValidation) -> None:
    figure = validation_charts.confidence_histogram(cv)
    traces = {trace.name: trace for trace in figure.data}
    for name, histogram in cv.histograms.items():
        right, wrong = traces[f"{name}, right"], traces[f"{name}, wrong"]
        assert [data[0] for data in right.customdata] == list(histogram.correct)
        assert [data[0] for data in wrong.customdata] == list(histogram.wrong)
        assert np.square(right.y) == pytest.approx(histogram.correct)
        assert np.square(wrong.y) == pytest.approx(histogram.wrong)
        assert max(wrong.y) <= 0 <= min(right.y)


def test_reliability_shows_the_bins_that_hold_samples(cv: CrossValidation) -> None:
    figure = validation_charts.reliability(cv)
    filled = [found for found in cv.reliability if found.n]
    assert len(filled) < len(cv.reliability)
    assert list(figure.data[0].x) == [found.confidence for found in filled]
    assert list(figure.data[0].y) == [found.accuracy for found in filled]
    assert max(figure.data[0].marker.size) == figure.data[0].marker.size[int(np.argmax([b.n for b in filled]))]


@pytest.mark.parametrize("draw", EVERY)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_are_transparent_without_a_legend_and_fit_the_window(
    draw: Draw, theme: Theme, cv: CrossValidation
) -> None:
    figure = draw(cv, theme)
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.showlegend is False
    assert figure.layout.height <= 400
    assert figure.layout.font.color == PAPER[theme].text
    assert validation_charts.PLOTLY_CONFIG["displayModeBar"] is False


@pytest.mark.parametrize("draw", EVERY)
def test_a_label_with_markup_in_its_name_stays_text(draw: Draw) -> None:
    cv = cross_validation(["real", "<a href='x'>cat</a>"])
    assert "<a" not in json.dumps(json.loads(draw(cv, "light").to_json())["layout"])


@pytest.mark.parametrize("draw", EVERY)
def test_a_handful_of_samples_all_right_can_be_drawn(draw: Draw) -> None:
    cv = cross_validation_metrics(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), ["real", "synthetic"], folds=2)
    assert draw(cv, "light").data
