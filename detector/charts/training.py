"""Plotly figures of how a model came about: what the sweep tried, and the models before it.

Show them as those of `detector.charts.validation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from detector.charts.palette import PAPER, Theme
from detector.charts.style import PLAIN, SIZE, axis_style, axis_title, faded, name_axes, new_figure, percent_axis, safe
from detector.formatting import FEWEST_FOR_RATE, decimal, interval_of, rate_of, rate_of_images
from detector.storage.stored_names import DETAIL, WHOLE

if TYPE_CHECKING:
    # Only the type: the sweep brings torch, which a page that draws need not load.
    from detector.training.sweep import SweepRow


@dataclass(frozen=True)
class HistoryPoint:
    """One model in the training history.

    Attributes
    ----------
    version : int
    accuracy : float or None
        Cross-validated; ``None`` where too few samples allowed no folds.
    n : int
        Samples measured on.
    interval : pair of float or None
        The accuracy's Wilson interval.
    live : bool
        Whether this is the model in use.
    """

    version: int
    accuracy: float | None
    n: int
    interval: tuple[float, float] | None
    live: bool = False


def sweep(rows: Sequence[SweepRow], theme: Theme = "light", n: int = FEWEST_FOR_RATE) -> go.Figure:
    """Draw the log loss of every setting tried over C, the chosen one marked: lower is better.

    Each line is one combination of views, features, scaling and class weight; `sweep_ranking` names them.

    Parameters
    ----------
    rows : sequence of SweepRow
    theme : {"light", "dark"}
    n : int
        Images that they were measured on.
    """
    paper = PAPER[theme]
    # Above the lines: there is no place among them that is empty for every shape.
    figure = new_figure(theme, height=350, margin={"t": 50, "l": 8, "r": 14, "b": 44})
    lines = _sweep_lines(rows)
    names = _setting_words(lines)
    for line, found in lines:
        won = any(row.chosen for row in found)
        figure.add_trace(
            go.Scatter(
                x=[row.c for row in found],
                y=[row.log_loss for row in found],
                mode="lines+markers",
                name=names[line],
                line={"color": paper.text if won else faded(paper.neutral.fill, 0.55), "width": 2.5 if won else 1.5},
                marker={"size": 5 if won else 4},
                customdata=[
                    [decimal(row.log_loss, 4), rate_of(row.accuracy, n), _on_sources(row, "<br>")] for row in found
                ],
                hovertemplate=(
                    f"{safe(names[line])}, C %{{x:.3~g}}<br>log loss %{{customdata[0]}}, "
                    "%{customdata[1]} right%{customdata[2]}<extra></extra>"
                ),
            )
        )
    chosen = next((row for row in rows if row.chosen), None)
    if chosen is not None:
        figure.add_trace(
            go.Scatter(
                x=[chosen.c],
                y=[chosen.log_loss],
                mode="markers",
                name="chosen",
                marker={"size": 13, "color": paper.text, "line": {"color": paper.card, "width": 2}},
                hoverinfo="skip",
            )
        )
        figure.add_annotation(
            x=1,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="right",
            yanchor="bottom",
            yshift=6,
            align="right",
            text=(
                f"<b>{safe(names[_setting(chosen)])}</b><br>"
                f"<span style='color:{paper.muted}'>C {_c(chosen.c)} · log loss {decimal(chosen.log_loss)}"
                f"{_on_sources(chosen, ' · ')}</span>"
            ),
            font={"color": paper.text, "size": SIZE},
            **PLAIN,
        )
    name_axes(figure, theme, "C: more to the right fits the samples more closely", "log loss")
    decades = [10.0**power for power in range(-6, 10)]
    figure.update_xaxes(type="log", tickvals=decades, ticktext=[f"{c:,.10g}" for c in decades], **axis_style(theme))
    figure.update_yaxes(range=_sweep_range(lines), nticks=6, **axis_style(theme))
    return figure


def sweep_ranking(
    rows: Sequence[SweepRow], theme: Theme = "light", most: int = 8, n: int = FEWEST_FOR_RATE
) -> go.Figure:
    """Draw the combinations of settings, best first, each at the log loss of its best C: which won, and by how much.

    Parameters
    ----------
    rows : sequence of SweepRow
    theme : {"light", "dark"}
    most : int
        Combinations drawn; the figure says how many there are.
    n : int
        Images that they were measured on.
    """
    lines = _sweep_lines(rows)
    names = _setting_words(lines)
    best = {
        line: next((row for row in found if row.chosen), min(found, key=lambda row: row.log_loss))
        for line, found in lines
    }
    # The chosen one first: among equals the simplest is taken, and another may lie a hair below it.
    order = sorted(best.values(), key=lambda row: (not row.chosen, row.log_loss))
    shown = order[:most]
    figure = new_figure(theme, height=36 * len(shown) + 66, margin={"t": 8, "l": 8, "r": 16, "b": 44})
    low = min((row.log_loss for row in shown), default=0.0)
    high = max((row.log_loss for row in shown), default=1.0)
    room = max(high - low, 0.01 * high, 1e-6)
    for place, row in enumerate(shown):
        name, behind = names[_setting(row)], row.log_loss - shown[0].log_loss
        dot = _ranked(
            figure,
            place,
            (low - 0.06 * room, row.log_loss),
            row.chosen,
            name,
            decimal(row.log_loss) if place == 0 else _behind(behind),
            theme,
        )
        dot.customdata = [[row.log_loss, row.accuracy]] * 2
        dot.hovertemplate = (
            f"{safe(name)}, C {_c(row.c)}<br>log loss {decimal(row.log_loss, 4)}, "
            f"{rate_of(row.accuracy, n)} right<extra></extra>"
        )
        figure.add_trace(dot)
    words = "log loss, lower is better"
    if len(order) > len(shown):
        words += f" (best {len(shown)} of {len(order)})"
    figure.update_xaxes(
        title=axis_title(words, theme), range=[low - 0.06 * room, high + 0.06 * room], nticks=5, **axis_style(theme)
    )
    figure.update_yaxes(range=[len(shown) - 0.6, -0.85], visible=False)
    return figure


def _ranked(
    figure: go.Figure, place: int, ends: tuple[float, float], chosen: bool, name: str, said: str, theme: Theme
) -> go.Scatter:
    """A setting in its place: a stem with a dot at its loss, which is returned, and words above it."""
    paper = PAPER[theme]
    colour = paper.text if chosen else paper.neutral.fill
    words = safe(name)
    figure.add_annotation(
        x=0,
        xref="paper",
        xanchor="left",
        y=place,
        yshift=13,
        text=f"{f'<b>{words}</b>' if chosen else words} <span style='color:{paper.muted}'>{said}</span>",
        font={"color": paper.text, "size": SIZE},
        **PLAIN,
    )
    return go.Scatter(
        x=list(ends),
        y=[place, place],
        mode="lines+markers",
        name=name,
        line={"color": faded(colour, 0.45), "width": 2},
        marker={"size": [0, 10], "color": colour, "opacity": 1},
    )


def sweep_on_sources(rows: Sequence[SweepRow], theme: Theme = "light") -> go.Figure:
    """Draw the settings that folds could not tell apart at their log loss on sources left out, the chosen one first.

    Beside each stands its log loss on images of the same sources.

    Parameters
    ----------
    rows : sequence of SweepRow
        At least one of them was tried on sources.
    theme : {"light", "dark"}
    """
    names = _setting_words(_sweep_lines(rows))
    # The chosen one first: among equals the simplest is taken, and another may lie a hair below it.
    tried = sorted(
        ((row, row.unseen_log_loss) for row in rows if row.unseen_log_loss is not None),
        key=lambda pair: (not pair[0].chosen, pair[1]),
    )
    figure = new_figure(theme, height=36 * len(tried) + 66, margin={"t": 8, "l": 8, "r": 16, "b": 44})
    losses = [loss for _, loss in tried]
    low, high = min(losses), max(losses)
    room = max(high - low, 0.01 * high, 1e-6)
    for place, (row, loss) in enumerate(tried):
        name = f"{names[_setting(row)]}, C {_c(row.c)}"
        said = f"{decimal(loss)} · same sources {decimal(row.log_loss)}"
        dot = _ranked(figure, place, (low - 0.06 * room, loss), row.chosen, name, said, theme)
        dot.hovertemplate = (
            f"{safe(name)}<br>log loss on sources left out {decimal(loss, 4)}, on images of the same sources "
            f"{decimal(row.log_loss, 4)}<extra></extra>"
        )
        figure.add_trace(dot)
    figure.update_xaxes(
        title=axis_title("log loss on sources left out, lower is better", theme),
        range=[low - 0.06 * room, high + 0.06 * room],
        nticks=5,
        **axis_style(theme),
    )
    figure.update_yaxes(range=[len(tried) - 0.6, -0.85], visible=False)
    return figure


def _c(value: float) -> str:
    """A setting as people write numbers: 3,162 and not 3.16e+03."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def training_history(points: Sequence[HistoryPoint], theme: Theme = "light") -> go.Figure:
    """Draw the accuracy of each model with its interval, oldest first; the live one is filled.

    Models without folds have no figure and leave a gap.
    """
    paper = PAPER[theme]
    measured = [point for point in points if point.accuracy is not None]
    figure = new_figure(theme, height=250, margin={"t": 30, "l": 8, "r": 14, "b": 44})
    accuracies = [point.accuracy or 0.0 for point in measured]
    bounds = [point.interval or (point.accuracy or 0.0, point.accuracy or 0.0) for point in measured]
    figure.add_trace(
        go.Scatter(
            x=[point.version for point in measured],
            y=accuracies,
            mode="lines+markers",
            cliponaxis=False,
            name="accuracy",
            line={"color": faded(paper.text, 0.3), "width": 1.5},
            marker={
                "size": 10,
                "color": [paper.text if point.live else paper.card for point in measured],
                "line": {"color": paper.text, "width": 1.5},
                "opacity": 1,
            },
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [high - value for value, (_, high) in zip(accuracies, bounds, strict=True)],
                "arrayminus": [value - low for value, (low, _) in zip(accuracies, bounds, strict=True)],
                "color": faded(paper.text, 0.4),
                "thickness": 1.2,
                "width": 0,
            },
            customdata=[
                f"Model {point.version}{' (live)' if point.live else ''}: "
                f"{rate_of_images(value, point.n, 'sample')}{interval_of(bound, point.n, '<br>95 % interval ')}"
                for point, value, bound in zip(measured, accuracies, bounds, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    for point, value, (_, high) in zip(measured, accuracies, bounds, strict=True):
        if point.live:
            figure.add_annotation(
                x=point.version,
                y=high,
                yanchor="bottom",
                yshift=5,
                text=f"<b>live</b> {rate_of(value, point.n)}",
                font={"color": paper.text, "size": SIZE},
                **PLAIN,
            )
    name_axes(figure, theme, "model", "accuracy")
    lowest = min((low for low, _ in bounds), default=0.0)
    highest = max((high for _, high in bounds), default=1.0)
    room = max(0.02, highest - lowest)
    percent_axis(figure, "y", [max(-0.01, lowest - 0.15 * room), min(1.02, highest + 0.3 * room)], theme)
    versions = [point.version for point in points] or [1]
    figure.update_xaxes(
        range=[min(versions) - 0.6, max(versions) + 0.6],
        tickformat="d",
        dtick=1 if max(versions) - min(versions) < 12 else None,
        **axis_style(theme),
    )
    return figure


Setting = tuple[str, str, str, str]

_VIEW_WORDS = {WHOLE: "whole view", DETAIL: "detail view", "both": "both views"}
_SCALING_WORDS = {"standardise": "standardised", "unit-length": "unit length"}
_WEIGHT_WORDS = {"none": "labels as they are", "balanced": "labels balanced"}


def _behind(difference: float) -> str:
    """By how much a log loss is higher; lower, where sources chose."""
    return f"{difference:+.3f}".replace("-0.000", "+0.000")


def _on_sources(row: SweepRow, before: str) -> str:
    return "" if row.unseen_log_loss is None else f"{before}on sources left out {decimal(row.unseen_log_loss)}"


def _setting(row: SweepRow) -> Setting:
    return row.views, row.features, row.scaling, row.class_weight


def _sweep_lines(rows: Sequence[SweepRow]) -> list[tuple[Setting, list[SweepRow]]]:
    """Rows by everything but C, in order of C; the winner's line last, so that it lies on top."""
    lines: dict[Setting, list[SweepRow]] = {}
    for row in rows:
        lines.setdefault(_setting(row), []).append(row)
    found = [(line, sorted(of_line, key=lambda row: row.c)) for line, of_line in lines.items()]
    return sorted(found, key=lambda pair: any(row.chosen for row in pair[1]))


def _setting_words(lines: Sequence[tuple[Setting, list[SweepRow]]]) -> dict[Setting, str]:
    """Name each combination by what differs between them; a single one by its views and scaling."""
    settings = [line for line, _ in lines]
    differing = [len({setting[place] for setting in settings}) > 1 for place in range(4)]
    if not any(differing):
        differing = [True, False, True, False]
    words = {}
    for setting in settings:
        views, features, scaling, weight = setting
        parts = (
            _VIEW_WORDS.get(views, views),
            features.replace("_", " ") + " features",
            _SCALING_WORDS.get(scaling, scaling),
            _WEIGHT_WORDS.get(weight, weight),
        )
        words[setting] = ", ".join(part for part, differs in zip(parts, differing, strict=True) if differs)
    return words


def _sweep_range(lines: Sequence[tuple[Setting, list[SweepRow]]]) -> list[float]:
    """Room for the best point of every line; an extreme C may leave the picture rather than flatten it."""
    if not lines:
        return [0.0, 1.0]
    bests = [min(row.log_loss for row in found) for _, found in lines]
    worst = max(row.log_loss for _, found in lines for row in found)
    best = min(bests)
    top = min(worst, best + max(0.3 * best, 1.8 * (max(bests) - best)))
    room = max(top - best, 0.02 * best, 1e-6)
    return [best - 0.08 * room, top + 0.06 * room]
