"""Plotly figure of what was invoked, day by day: how many pictures got which verdict, and how many can't tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import plotly.graph_objects as go

from detector.charts.palette import PAPER, Theme, label_ink
from detector.charts.style import PLAIN, SMALL, axis_style, faded, name_axes, new_figure, safe, shorten
from detector.formatting import count
from detector.serving.invoke_counts import SAID
from detector.storage.invoke_days import InvokeDay
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG

#: Moderate verdicts are drawn in the label's colour, paler.
_PALER = 0.5
_DELETED = "a label that was deleted since"


def invokes_by_day(
    days: Sequence[InvokeDay],
    first: date,
    last: date,
    names: Mapping[str, str],
    labels: Sequence[str],
    theme: Theme = "light",
) -> go.Figure:
    """Draw a bar for each day, from below: each label, its strong verdicts first, then what could not be told.

    Parameters
    ----------
    days : sequence of InvokeDay
    first, last : date
        Both ends are drawn, days without invokes too.
    names : dict of label id to name
    labels : sequence of str
        All labels of the function in its order, which the colours follow.
    theme : {"light", "dark"}
    """
    paper = PAPER[theme]
    shown = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    place = {day.isoformat(): number for number, day in enumerate(shown)}
    rows: dict[str, list[int]] = {}
    for item in days:
        if item.day in place:
            for said, n in item.counts.get(SAID, {}).items():
                rows.setdefault(said, [0] * len(shown))[place[item.day]] += n
    figure = new_figure(theme, height=240, margin={"t": 48, "l": 8, "r": 8, "b": 30})
    order = [f"{grade} {label_id}" for label_id in names for grade in (STRONG, MODERATE)]
    order += sorted(said for said in rows if said not in order and said != CANT_TELL)
    legend: dict[str, str] = {}
    for said in (*order, CANT_TELL):
        if said not in rows:
            continue
        grade, _, label_id = said.partition(" ")
        name = names.get(label_id) if said != CANT_TELL else None
        ink = label_ink(name, labels, theme)
        title = CANT_TELL if said == CANT_TELL else f"{name or _DELETED}, {grade}"
        legend.setdefault(CANT_TELL if said == CANT_TELL else name or _DELETED, ink.text)
        figure.add_trace(
            go.Bar(
                x=[day.isoformat() for day in shown],
                y=rows[said],
                name=title,
                marker={
                    "color": ink.fill if grade == STRONG else faded(ink.fill, _PALER),
                    "line": {"width": 0},
                },
                customdata=[
                    f"{day.day} {day:%B}: {count(n, 'picture')}, {safe(title)}"
                    for day, n in zip(shown, rows[said], strict=True)
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    words = [f"<span style='color:{colour}'><b>{shorten(name, 24)}</b></span>" for name, colour in legend.items()]
    figure.add_annotation(
        x=0,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="bottom",
        yshift=24,
        text=" · ".join(words) + f"<span style='color:{paper.muted}'> · paler: moderate</span>" * (len(words) > 0),
        font={"color": paper.text, "size": SMALL},
        **PLAIN,
    )
    ticks = shown[::-7]
    figure.update_xaxes(
        type="category",
        tickvals=[day.isoformat() for day in ticks],
        ticktext=[f"{day.day} {day:%b}" for day in ticks],
        **axis_style(theme) | {"showgrid": False},
    )
    figure.update_yaxes(tickformat=",d", nticks=4, rangemode="tozero", **axis_style(theme))
    name_axes(figure, theme, "", "pictures a day")
    # Dates need no name, and an empty one takes room.
    figure.update_xaxes(title=None)
    figure.update_layout(barmode="stack", bargap=0.25)
    return figure
