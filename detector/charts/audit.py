"""Plotly figures of an audit, and of verdicts: as pure as `detector.charts.validation`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from detector.charts.palette import PAPER, Theme, label_ink
from detector.charts.style import (
    PLAIN,
    SIZE,
    SMALL,
    axis_style,
    faded,
    name_axes,
    new_figure,
    percent_axis,
    safe,
    shorten,
)
from detector.evaluation.power_law import accuracy_at
from detector.evaluation.results import LearningCurve, SourceScore, StressScore
from detector.formatting import (
    FEWEST_FOR_RATE,
    count,
    interval_of,
    percent,
    rate_of,
    rate_of_images,
    share_and_rate,
)
from detector.training.metrics import wilson_interval
from detector.training.thresholds import CANT_TELL, Thresholds

#: Rows of the figure of sources; the smallest sources are not drawn beyond it.
MOST_SOURCES = 16
#: Points of the forecast of a learning curve.
_AHEAD = 20


def unseen_sources(scores: Sequence[SourceScore], labels: Sequence[str], theme: Theme = "light") -> go.Figure:
    """Draw each source twice: judged by models that have seen others of it (ring) and by one that has not (dot).

    Parameters
    ----------
    scores : sequence of SourceScore
        In the order of the rows; the largest `MOST_SOURCES` are drawn.
    labels : sequence of str
        All labels of the function in its order, which the colours follow.
    theme : {"light", "dark"}
    """
    paper = PAPER[theme]
    rows = drawn_sources(scores)
    figure = new_figure(theme, height=38 * len(rows) + 62, margin={"t": 8, "l": 8, "r": 16, "b": 36})
    for place, row in enumerate(rows):
        ink = label_ink(row.label, labels, theme)
        words = [
            f"{word} {rate_of(value, row.n, 0)}"
            for word, value in (("never seen", row.accuracy_unseen), ("seen", row.accuracy))
            if value is not None
        ]
        # The ring first: where both are equal, the dot lies in it.
        if row.accuracy is not None:
            figure.add_trace(
                go.Scatter(
                    x=[row.accuracy],
                    y=[place],
                    mode="markers",
                    name=f"{row.source}, seen",
                    marker={"color": paper.card, "size": 13, "line": {"color": ink.fill, "width": 2}},
                    hovertemplate=(
                        f"{safe(row.source)} ({safe(row.label)}), seen: {rate_of(row.accuracy, row.n)}<extra></extra>"
                    ),
                )
            )
        if row.accuracy_unseen is not None:
            low, high = row.interval
            figure.add_trace(
                go.Scatter(
                    x=[row.accuracy_unseen],
                    y=[place],
                    mode="markers",
                    name=row.source,
                    marker={"color": ink.fill, "size": 9},
                    error_x={
                        "type": "data",
                        "symmetric": False,
                        "array": [high - row.accuracy_unseen],
                        "arrayminus": [row.accuracy_unseen - low],
                        "color": faded(ink.fill, 0.45),
                        "thickness": 2.5,
                        "width": 0,
                    },
                    hovertemplate=(
                        f"{safe(row.source)} ({safe(row.label)}), never seen: {rate_of(row.accuracy_unseen, row.n)}"
                        f"<br>{interval_of(row.interval, row.n, '95 % interval ', ', ')}{count(row.n, 'image')}"
                        "<extra></extra>"
                    ),
                )
            )
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=place,
            yshift=14,
            text=(
                f"<b>{shorten(row.source, 22)}</b> <span style='color:{paper.muted}'>{' · '.join(words)}"
                # A count says of how many by itself.
                f"{'' if words and row.n < FEWEST_FOR_RATE else f' · {count(row.n)}'}</span>"
            ),
            font={"color": ink.text, "size": SMALL},
            **PLAIN,
        )
    lowest = min((row.interval[0] for row in rows), default=0.0)
    floor = max(0.0, min(0.9, int(lowest * 10) / 10))
    percent_axis(figure, "x", [floor - 0.01 * (1 - floor), 1 + 0.02 * (1 - floor)], theme)
    figure.update_yaxes(range=[len(rows) - 0.6, -0.8], visible=False)
    return figure


def drawn_sources(scores: Sequence[SourceScore]) -> list[SourceScore]:
    """The rows of `unseen_sources`: the largest, in the order given."""
    largest = sorted(scores, key=lambda row: -row.n)[:MOST_SOURCES]
    return [row for row in scores if row in largest]


def stress(scores: Sequence[StressScore], theme: Theme = "light") -> go.Figure:
    """Draw the accuracy on copies as bars with their 95 % intervals, that on the samples as imported on top.

    Parameters
    ----------
    scores : sequence of StressScore, not empty
    theme : {"light", "dark"}
    """
    paper = PAPER[theme]
    names = ["as imported", *(score.title for score in scores)]
    values = [scores[0].accuracy_as_imported, *(score.accuracy for score in scores)]
    first = scores[0].n
    bounds = [wilson_interval(round(values[0] * first), first), *(score.interval for score in scores)]
    hover = [
        f"as imported: {rate_of_images(values[0], first, 'image')}{interval_of(bounds[0], first, ', 95 % interval ')}",
        *(
            f"{score.title}: {rate_of_images(score.accuracy, score.n, 'image')}"
            f"{interval_of(score.interval, score.n, ', 95 % interval ')}"
            f"<br>{rate_of(score.flipped, score.n)} of the verdicts changed"
            for score in scores
        ),
    ]
    figure = new_figure(theme, height=34 * len(names) + 16, margin={"t": 4, "l": 8, "r": 8, "b": 4})
    figure.add_trace(
        go.Bar(
            x=values,
            y=names,
            orientation="h",
            width=0.56,
            marker={"color": [paper.text, *[faded(paper.text, 0.42)] * len(scores)], "line": {"width": 0}},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - value for value, (_, high) in zip(values, bounds, strict=True)],
                "arrayminus": [value - low for value, (low, _) in zip(values, bounds, strict=True)],
                "color": paper.muted,
                "thickness": 1.5,
                "width": 3,
            },
            cliponaxis=False,
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    # In a column of their own: at the bar's end the interval would cross them.
    for name, value, n in zip(names, values, [first, *(score.n for score in scores)], strict=True):
        figure.add_annotation(
            x=1.02,
            y=name,
            xanchor="left",
            text=rate_of(value, n),
            font={"size": SIZE, "color": paper.text},
            **PLAIN,
        )
    figure.update_xaxes(range=[0, 1.2], visible=False, fixedrange=True)
    figure.update_yaxes(
        **axis_style(theme) | {"showgrid": False, "tickfont": {"size": SIZE, "color": paper.text}},
        autorange="reversed",
    )
    figure.update_layout(barcornerradius=4)
    return figure


def verdict_shares(thresholds: Thresholds, theme: Theme = "light", labels: Sequence[str] | None = None) -> go.Figure:
    """Draw what the verdicts on the samples of each label are: a bar of a label's parts, can't tell among them.

    Parameters
    ----------
    thresholds : Thresholds
    theme : {"light", "dark"}
    labels : sequence of str, optional
        All labels of the function in its order, which the colours follow; those of ``thresholds`` if not given.
    """
    paper = PAPER[theme]
    known = labels or thresholds.label_names
    inks = {name: label_ink(name, known, theme) for name in thresholds.label_names} | {CANT_TELL: paper.neutral}
    names = [name for name in thresholds.label_names if thresholds.counts.get(name)]
    figure = new_figure(theme, height=58 * len(names) + 12, margin={"t": 4, "l": 8, "r": 8, "b": 4})
    for place, name in enumerate(names):
        counts = thresholds.counts[name]
        total = max(sum(counts.values()), 1)
        # The right verdict first, can't tell in the middle, false accusations last.
        order = [name, CANT_TELL, *(other for other in thresholds.label_names if other != name)]
        for verdict in order:
            figure.add_trace(
                go.Bar(
                    x=[counts[verdict] / total],
                    y=[place],
                    orientation="h",
                    width=0.36,
                    name=f"{name}, {verdict}",
                    marker={
                        "color": faded(inks[verdict].fill, 0.45) if verdict == CANT_TELL else inks[verdict].fill,
                        "line": {"width": 1, "color": paper.card},
                    },
                    hovertemplate=(
                        f"labelled {safe(name)}, verdict {safe(verdict)}: "
                        f"{share_and_rate(counts[verdict], total)}<extra></extra>"
                    ),
                )
            )
        words = [
            f"<span style='color:{inks[verdict].text}'>{'<b>' if verdict == name else ''}{shorten(verdict, 16)}"
            f"{'</b>' if verdict == name else ''} "
            f"{percent(counts[verdict] / total) if total >= FEWEST_FOR_RATE else count(counts[verdict])}</span>"
            for verdict in order
            if counts[verdict] or verdict == name
        ]
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=place,
            yshift=20,
            text=" · ".join([*words, count(total, "image")]),
            font={"color": paper.muted, "size": SMALL},
            **PLAIN,
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(range=[0, 1], visible=False, fixedrange=True)
    figure.update_yaxes(range=[len(names) - 0.6, -0.75], visible=False, fixedrange=True)
    return figure


def learning_curve(curve: LearningCurve, theme: Theme = "light") -> go.Figure:
    """Draw accuracy over the number of training images, with the range of the repeats, and the forecast dotted.

    The forecast goes from the last point, which a fold less than all images made, to ``curve.step`` more than all.

    Parameters
    ----------
    curve : LearningCurve
        With points.
    theme : {"light", "dark"}
    """
    paper = PAPER[theme]
    sizes = [point.n for point in curve.points]
    values = [point.accuracy for point in curve.points]
    low, high = [point.interval[0] for point in curve.points], [point.interval[1] for point in curve.points]
    figure = new_figure(theme, height=280, margin={"t": 30, "l": 8, "r": 20, "b": 44})
    figure.add_trace(
        go.Scatter(
            x=[*sizes, *reversed(sizes)],
            y=[*high, *reversed(low)],
            mode="lines",
            fill="toself",
            fillcolor=faded(paper.text, 0.10),
            line={"width": 0},
            hoverinfo="skip",
        )
    )
    if curve.gain is not None:
        ahead = np.linspace(sizes[-1], curve.measured + curve.step, _AHEAD)
        # From the last point on, and never down: the law itself passes a little beside the points.
        rise = np.maximum(np.diff(accuracy_at(sizes, values, ahead.tolist()), prepend=np.nan), 0.0)
        rise[0] = values[-1]
        figure.add_trace(
            go.Scatter(
                x=ahead.tolist(),
                y=np.minimum(np.cumsum(rise), 1.0).tolist(),
                mode="lines",
                line={"color": paper.muted, "width": 2, "dash": "dot"},
                hoverinfo="skip",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=sizes,
            y=values,
            mode="lines+markers",
            cliponaxis=False,
            line={"color": paper.text, "width": 2},
            marker={"color": paper.text, "size": 7},
            customdata=[
                f"{count(point.n, 'training image')}: {rate_of(point.accuracy, curve.measured)}"
                f"{interval_of(point.interval, curve.measured, '<br>95 % of repeats within ')}"
                for point in curve.points
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    figure.add_annotation(
        x=sizes[-1],
        xref="x",
        y=high[-1],
        xanchor="right",
        yanchor="bottom",
        yshift=4,
        text=f"<b>{rate_of(values[-1], curve.measured)}</b>",
        font={"color": paper.text, "size": SIZE},
        **PLAIN,
    )
    figure.update_xaxes(
        range=[0, 1.04 * (sizes[-1] if curve.gain is None else curve.measured + curve.step)],
        tickformat=",d",
        nticks=6,
        **axis_style(theme),
    )
    room = max(0.02, max(high) - min(low))
    percent_axis(figure, "y", [max(-0.01, min(low) - 0.1 * room), min(1.02, max(high) + 0.18 * room)], theme)
    name_axes(figure, theme, "training images", "accuracy")
    return figure
