"""Plotly figures of a cross-validation: pure functions from metrics to figures, no widget, no state.

Show them with ``st.plotly_chart(figure, theme=None, config=PLOTLY_CONFIG)``: without ``theme=None`` Streamlit paints
over the colours. The figures of the sweep and of the training history are in `detector.charts.training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from detector.charts.palette import PAPER, Theme, label_ink
from detector.charts.style import (
    PLAIN,
    PLOTLY_CONFIG,
    SIZE,
    SMALL,
    axis_style,
    axis_title,
    diagonal,
    faded,
    lay_out,
    name_axes,
    new_figure,
    percent_axis,
    safe,
    shorten,
)
from detector.formatting import FEWEST_FOR_RATE, count, decimal, interval_of, percent, rate_of, share, share_and_rate
from detector.storage.label_names import spelling_among
from detector.training.metrics import ConfidenceHistogram, CrossValidation, LabelScore, wilson_interval

#: Below so many samples a figure says that they are few.
_FEW = 200
#: Lowest and highest value of x and of y.
Bounds = Sequence[tuple[float, float]]
_CORNERS = ("bottom right", "bottom left", "top right", "top left")

__all__ = [
    "PLOTLY_CONFIG",
    "confidence_histogram",
    "confusion",
    "label_accuracy",
    "precision_recall",
    "reliability",
    "roc",
]


def label_accuracy(cv: CrossValidation, theme: Theme = "light", labels: Sequence[str] | None = None) -> go.Figure:
    """Draw how many samples of each label were given it: a dot with its 95 % interval, one line a label.

    Parameters
    ----------
    cv : CrossValidation
    theme : {"light", "dark"}
    labels : sequence of str, optional
        All labels of the function in its order, which the colours follow; those of ``cv`` if not given.
    """
    paper = PAPER[theme]
    names = list(cv.label_names)
    figure = new_figure(theme, height=46 * len(names) + 58, margin={"t": 8, "l": 8, "r": 16, "b": 36})
    for row, name in enumerate(names):
        score, ink = cv.labels[name], label_ink(name, labels or names, theme)
        low, high = score.interval
        figure.add_trace(
            go.Scatter(
                x=[score.accuracy],
                y=[row],
                mode="markers",
                name=name,
                marker={"color": ink.fill, "size": 11},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [high - score.accuracy],
                    "arrayminus": [score.accuracy - low],
                    "color": ink.fill,
                    "thickness": 2.5,
                    "width": 0,
                },
                hovertemplate=(
                    f"{safe(name)}: {_right(score)}"
                    f"{interval_of(score.interval, score.n, '<br>95 % interval ')}<extra></extra>"
                ),
            )
        )
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=row,
            yshift=15,
            text=(f"<b>{safe(name)}</b> <span style='color:{paper.muted}'>{_right(score)}</span>"),
            font={"color": ink.text, "size": SIZE},
            **PLAIN,
        )
    lowest = min((cv.labels[name].interval[0] for name in names), default=0.0)
    floor = max(0.0, min(0.9, int(lowest * 10) / 10))
    percent_axis(figure, "x", [floor - 0.01 * (1 - floor), 1 + 0.015 * (1 - floor)], theme)
    figure.update_yaxes(range=[len(names) - 0.65, -0.75], visible=False)
    return figure


def _right(score: LabelScore) -> str:
    """ "94.8 % · 948 of 1,000 right", or the count alone where there are too few for a rate."""
    counted = f"{share(score.correct, score.n)} right"
    return counted if score.n < FEWEST_FOR_RATE else f"{percent(score.accuracy)} · {counted}"


def confusion(cv: CrossValidation, theme: Theme = "light", labels: Sequence[str] | None = None) -> go.Figure:
    """Draw annotated labels (rows) against what the function says (columns): counts, and shares of the row.

    Parameters are those of `label_accuracy`.
    """
    paper = PAPER[theme]
    names = list(cv.label_names)
    shares = [[cell / max(1, sum(row)) for cell in row] for row in cv.confusion]
    words = [shorten(name, 11 if len(names) > 3 else 16) for name in names]
    figure = new_figure(theme, height=62 * len(names) + 66, margin={"t": 50, "l": 8, "r": 8, "b": 8})
    figure.add_trace(
        go.Heatmap(
            z=[list(row) for row in cv.confusion],
            x=list(range(len(names))),
            y=list(range(len(names))),
            # The cells are painted below, in the colour of what the function says; this carries numbers and hover.
            opacity=0,
            showscale=False,
            customdata=[
                [
                    f"annotated {safe(names[row])}, function says {safe(names[column])}: "
                    f"{share_and_rate(cell, sum(cells))}"
                    for column, cell in enumerate(cells)
                ]
                for row, cells in enumerate(cv.confusion)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    for row, cells in enumerate(cv.confusion):
        for column, cell in enumerate(cells):
            ink = label_ink(names[column], labels or names, theme)
            figure.add_shape(
                type="rect",
                x0=column - 0.48,
                x1=column + 0.48,
                y0=row - 0.46,
                y1=row + 0.46,
                line={"width": 0},
                fillcolor=faded(ink.fill, 0.05 + 0.33 * shares[row][column]),
                layer="below",
            )
            right = row == column
            figure.add_annotation(
                x=column,
                y=row,
                text=(
                    f"{'<b>' if right else ''}{count(cell)}{'</b>' if right else ''}"
                    f"<br><span style='font-size:{SMALL}px;color:{paper.muted}'>"
                    f"{percent(shares[row][column]) if sum(cells) >= FEWEST_FOR_RATE else f'of {count(sum(cells))}'}"
                    "</span>"
                ),
                font={"size": 16 if len(names) <= 4 else SIZE, "color": paper.text},
                **PLAIN,
            )
    axis: dict[str, Any] = axis_style(theme) | {
        "tickvals": list(range(len(names))),
        "showgrid": False,
        "tickfont": {"size": SIZE if len(names) <= 3 else SMALL, "color": paper.text},
    }
    figure.update_xaxes(**axis, ticktext=[f"says<br>{word}" for word in words], side="top", tickangle=0)
    figure.update_yaxes(**axis, ticktext=words, range=[len(names) - 0.5, -0.5])
    figure.add_annotation(
        x=0,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="right",
        yanchor="bottom",
        xshift=-4,
        yshift=14,
        text="annotated",
        font={"color": paper.muted, "size": SMALL},
        **PLAIN,
    )
    return figure


def roc(cv: CrossValidation, theme: Theme = "light", labels: Sequence[str] | None = None) -> go.Figure:
    """Draw how many are caught at which price of false accusations, over all thresholds.

    Two labels: the curve of ``synthetic`` where there is one, otherwise of the second label. More: one curve a label,
    each against the rest. Parameters are those of `label_accuracy`.
    """
    names = _curve_names(cv)
    figure = new_figure(theme, height=330, margin={"t": 30, "l": 8, "r": 14, "b": 44})
    diagonal(figure, theme)
    for name in names:
        curves, n = cv.curves[name], cv.labels[name].n
        points = zip(curves.false_positive_rate, curves.true_positive_rate, strict=True)
        _curve(
            figure,
            curves.false_positive_rate,
            curves.true_positive_rate,
            label_ink(name, labels or cv.label_names, theme).fill,
            name,
            [f"{rate_of(y, n)} caught at {rate_of(x, cv.n - n)} false accusations" for x, y in points],
        )
    key = [(name, f"ROC AUC {decimal(cv.curves[name].roc_auc)}") for name in names]
    _key(figure, key, cv, theme, labels, [(-0.01, 1.01), (-0.01, 1.02)], "bottom right")
    if len(names) == 1:
        other = next(name for name in cv.label_names if name != names[0])
        name_axes(figure, theme, f"{other} wrongly called {names[0]}", f"{names[0]} caught")
    else:
        name_axes(figure, theme, "others wrongly called so", "of the label caught")
    percent_axis(figure, "x", [-0.01, 1.01], theme)
    percent_axis(figure, "y", [-0.01, 1.02], theme)
    return figure


def precision_recall(cv: CrossValidation, theme: Theme = "light", labels: Sequence[str] | None = None) -> go.Figure:
    """Draw how often the function is right when it says a label, against how many of that label it finds.

    Curves and parameters are those of `roc`.
    """
    names = _curve_names(cv)
    figure = new_figure(theme, height=330, margin={"t": 30, "l": 8, "r": 14, "b": 44})
    lowest = 1.0
    for name in names:
        curves = cv.curves[name]
        precision = _from_first_sample(curves.precision)
        lowest = min(lowest, *precision)
        _curve(
            figure,
            curves.recall,
            precision,
            label_ink(name, labels or cv.label_names, theme).fill,
            name,
            [_precise(x, y, cv.labels[name].n) for x, y in zip(curves.recall, precision, strict=True)],
        )
    key = [(name, f"average precision {decimal(cv.curves[name].average_precision)}") for name in names]
    floor = max(0.0, int(lowest * 5) / 5 - 0.2)
    _key(figure, key, cv, theme, labels, [(-0.01, 1.01), (floor - 0.01, 1.02)], "bottom left")
    if len(names) == 1:
        name_axes(figure, theme, f"{names[0]} found", f"right when it says {names[0]}")
    else:
        name_axes(figure, theme, "of the label found", "right when it says so")
    percent_axis(figure, "x", [-0.01, 1.01], theme)
    percent_axis(figure, "y", [floor - 0.01, 1.02], theme)
    return figure


def confidence_histogram(cv: CrossValidation, theme: Theme = "light", labels: Sequence[str] | None = None) -> go.Figure:
    """Draw how sure the function was, one strip an annotated label: right predictions upwards, wrong ones downwards.

    Heights are square roots of the counts (the ticks say the counts): most predictions are sure and right, and the few
    wrong ones are what one looks for. Parameters are those of `label_accuracy`.
    """
    paper = PAPER[theme]
    names = list(cv.label_names)
    figure = make_subplots(rows=len(names), cols=1, shared_xaxes=True, vertical_spacing=0.3 / len(names))
    lay_out(figure, theme, height=135 * len(names) + 60, margin={"t": 30, "l": 8, "r": 14, "b": 44})
    edges = cv.histogram_edges
    bins = list(pairwise(edges))
    for row, name in enumerate(names, start=1):
        histogram, ink = cv.histograms[name], label_ink(name, labels or names, theme)
        for word, counts, up in (("right", histogram.correct, 1), ("wrong", histogram.wrong, -1)):
            figure.add_trace(
                go.Bar(
                    x=[(low + high) / 2 for low, high in bins],
                    y=[up * number**0.5 for number in counts],
                    width=[0.88 * (high - low) for low, high in bins],
                    name=f"{name}, {word}",
                    marker={"color": ink.fill if up > 0 else faded(ink.fill, 0.45), "line": {"width": 0}},
                    customdata=[
                        [number, f"{percent(low, 0)} to {percent(high, 0)}"]
                        for number, (low, high) in zip(counts, bins, strict=True)
                    ],
                    hovertemplate=(
                        f"{safe(name)}: %{{customdata[0]:,}} {word}<br>confidence %{{customdata[1]}}<extra></extra>"
                    ),
                ),
                row=row,
                col=1,
            )
        figure.add_annotation(
            x=0,
            xref="x domain",
            xanchor="left",
            y=1,
            yref=f"y{row if row > 1 else ''} domain",
            yanchor="bottom",
            text=(
                f"<b>{safe(name)}</b> <span style='color:{paper.muted}'>up: {count(sum(histogram.correct))} right, "
                f"down: {count(sum(histogram.wrong))} wrong</span>"
            ),
            font={"color": ink.text, "size": SIZE},
            **PLAIN,
        )
        most, most_wrong = max(histogram.correct, default=0), max(histogram.wrong, default=0)
        up_ticks, down_ticks = _root_ticks(most), _root_ticks(most_wrong, 1)
        figure.update_yaxes(
            row=row,
            col=1,
            tickvals=[-(tick**0.5) for tick in down_ticks] + [0] + [tick**0.5 for tick in up_ticks],
            ticktext=[count(tick) for tick in (*down_ticks, 0, *up_ticks)],
            range=[-1.15 * max(most_wrong**0.5, 0.12 * most**0.5), 1.06 * max(most**0.5, 1)],
            **axis_style(theme),
        )
        figure.add_hline(y=0, line={"color": paper.muted, "width": 1}, row=row, col=1)
    used = [low for name in names for low in _filled(edges, cv.histograms[name])]
    figure.update_layout(barmode="overlay")
    percent_axis(figure, "x", [min([*used, 1 / max(2, len(names))]) - 0.005, 1.005], theme)
    figure.update_xaxes(title=axis_title("confidence of the prediction", theme), row=len(names), col=1)
    return figure


def reliability(cv: CrossValidation, theme: Theme = "light") -> go.Figure:
    """Draw how often the function was right at each confidence: on the dashed line it is as right as it says.

    Dots grow with the number of samples; the rules are 95 % Wilson intervals.
    """
    paper = PAPER[theme]
    bins = [found for found in cv.reliability if found.n]
    bounds = [wilson_interval(round(found.accuracy * found.n), found.n) for found in bins]
    most = max((found.n for found in bins), default=1)
    figure = new_figure(theme, height=330, margin={"t": 30, "l": 8, "r": 14, "b": 44})
    diagonal(figure, theme)
    figure.add_trace(
        go.Scatter(
            x=[found.confidence for found in bins],
            y=[found.accuracy for found in bins],
            mode="lines+markers",
            cliponaxis=False,
            name="out-of-fold",
            line={"color": faded(paper.text, 0.35), "width": 1.5},
            marker={
                "size": [7 + 13 * (found.n / most) ** 0.5 for found in bins],
                "color": paper.text,
                "opacity": 1,
                "line": {"color": paper.card, "width": 1.5},
            },
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [high - found.accuracy for found, (_, high) in zip(bins, bounds, strict=True)],
                "arrayminus": [found.accuracy - low for found, (low, _) in zip(bins, bounds, strict=True)],
                "color": faded(paper.text, 0.5),
                "thickness": 1.2,
                "width": 0,
            },
            customdata=[
                f"{count(found.n, 'sample')} of confidence {percent(found.confidence)}<br>"
                f"{rate_of(found.accuracy, found.n)} right{interval_of(bound, found.n, ', ')}"
                for found, bound in zip(bins, bounds, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    figure.add_annotation(
        x=0.98,
        y=0.05,
        xref="x domain",
        yref="y domain",
        xanchor="right",
        yanchor="bottom",
        align="right",
        text=(
            f"{f'off by {percent(cv.ece)} on average<br>' if cv.n >= FEWEST_FOR_RATE else ''}"
            f"{'only ' if cv.n < _FEW else ''}{count(cv.n, 'sample')}"
        ),
        font={"color": paper.muted, "size": SIZE},
        **PLAIN,
    )
    floor = min([0.5, *(found.low for found in bins)])
    bottom = max(0.0, min([floor, *(low for low, _ in bounds)]))
    name_axes(figure, theme, "confidence", "right")
    percent_axis(figure, "x", [floor - 0.01, 1.02], theme)
    percent_axis(figure, "y", [bottom - 0.01, 1.02], theme)
    return figure


def _precise(recall: float, precision: float, n: int) -> str:
    """What a point of the precision curve means, of a label with ``n`` images."""
    found = round(recall * n)
    said = round(found / precision) if precision > 0 and found else 0
    if not said:
        # Nothing right is said there yet, so how much was said is not known.
        return f"finds {rate_of(recall, n)}"
    return f"right in {rate_of(precision, said)} when it finds {rate_of(recall, n)}"


def _curve(
    figure: go.Figure, x: Sequence[float], y: Sequence[float], colour: str, name: str, hover: Sequence[str]
) -> None:
    figure.add_trace(
        go.Scatter(
            x=list(x),
            y=list(y),
            mode="lines",
            name=name,
            line={"color": colour, "width": 2.5},
            customdata=list(hover),
            hovertemplate=f"{safe(name)}: %{{customdata}}<extra></extra>",
        )
    )


def _curve_names(cv: CrossValidation) -> list[str]:
    if len(cv.label_names) != 2:
        return list(cv.label_names)
    return [spelling_among("synthetic", cv.label_names) or cv.label_names[1]]


def _key(
    figure: go.Figure,
    lines: Sequence[tuple[str, str]],
    cv: CrossValidation,
    theme: Theme,
    labels: Sequence[str] | None,
    bounds: Bounds,
    wanted: str,
) -> None:
    """Name the curves, each in its ink, in the corner that is wanted or else in the emptiest one."""
    place = _emptiest(figure, bounds, 1 + len(lines), wanted)
    yanchor, xanchor = place.split()
    text = "<br>".join(
        f"<b style='color:{label_ink(name, labels or cv.label_names, theme).text}'>{safe(name)}</b> {words}"
        for name, words in lines
    )
    figure.add_annotation(
        x=0.03 if xanchor == "left" else 0.98,
        y=0.05 if yanchor == "bottom" else 0.97,
        xref="x domain",
        yref="y domain",
        xanchor=xanchor,
        yanchor=yanchor,
        align=xanchor,
        text=f"{text}<br>{count(cv.n, 'sample')}",
        font={"color": PAPER[theme].muted, "size": SIZE},
        **PLAIN,
    )


def _emptiest(figure: go.Figure, bounds: Bounds, lines: int, wanted: str) -> str:
    """The corner in which the curves leave room for so many lines of words; ``wanted`` where it is as empty as any."""
    inside = dict.fromkeys([wanted, *_CORNERS], 0)
    wide, high = 0.5, 0.03 + 0.07 * lines
    for trace in figure.data:
        x, y = (
            (np.asarray(values, dtype=np.float64) - low) / (top - low)
            for values, (low, top) in zip((trace.x, trace.y), bounds, strict=True)
        )
        # Between its points a curve is there too: looked at in equal steps along it.
        along = np.append(0.0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
        x, y = (np.interp(np.linspace(0, along[-1], 500), along, values) for values in (x, y))
        for corner in inside:
            down, left = corner.startswith("bottom"), corner.endswith("left")
            there = (y < high if down else y > 1 - high) & (x < wide if left else x > 1 - wide)
            inside[corner] += int(there.sum())
    return min(inside, key=inside.__getitem__)


def _from_first_sample(precision: Sequence[float]) -> tuple[float, ...]:
    """Where nothing is found yet precision is 1 by convention; drawn, that is a promise which the first may break."""
    return (precision[1], *precision[1:]) if len(precision) > 1 else tuple(precision)


def _filled(edges: Sequence[float], histogram: ConfidenceHistogram) -> list[float]:
    """Lower edges of the bins that hold samples."""
    counts = zip(edges[:-1], histogram.correct, histogram.wrong, strict=True)
    return [low for low, right, wrong in counts if right + wrong]


def _root_ticks(most: int, wanted: int = 2) -> list[int]:
    """Up to ``wanted`` round counts that lie apart on a root scale."""
    round_numbers = [step * 10**power for power in range(7) for step in (1, 2, 5)]
    below = [number for number in round_numbers if number <= most]
    if not below:
        return []
    largest = below[-1]
    quarter = [number for number in below if number <= largest / 4]
    return [*quarter[-1:], largest] if wanted > 1 else [largest]
