"""Plotly figure of what the samples' files are like: a bar for each label's range, and a band for what all cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10

import plotly.graph_objects as go

from detector.charts.palette import PAPER, Theme, label_ink
from detector.charts.style import PLAIN, SMALL, axis_style, faded, new_figure, safe, shorten
from detector.training.coverage import QUALITY, RESCALING, SIZE, Coverage, describe_range

#: Wide enough to be seen where all samples are the same, in shares of the axis.
_THINNEST = 0.012
#: At least this is drawn of each fact, so that one sees what is missing.
_SHOWN = {SIZE: (128.0, 4096.0), QUALITY: (50.0, 100.0), RESCALING: (1.0, 3.0)}
_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


def coverage(
    known: Coverage, fact: str, names: Mapping[str, str], labels: Sequence[str], theme: Theme = "light"
) -> go.Figure:
    """Draw one fact: the range of each label as a bar, what every label covers as a band behind them.

    Parameters
    ----------
    known : Coverage
    fact : one of `detector.training.coverage.FACTS`
    names : dict of label id to name
    labels : sequence of str
        All labels of the function in its order, which the colours follow.
    theme : {"light", "dark"}
    """
    paper = PAPER[theme]
    rows = [(names[item], ends) for item, files in known.labels.items() if (ends := files.range_of(fact)) is not None]
    figure = new_figure(theme, height=42 * len(rows) + 52, margin={"t": 6, "l": 8, "r": 16, "b": 30})
    band = known.covered(fact)
    # Sizes differ by factors, and so they are drawn.
    place = log10 if fact == SIZE else float
    values = [*_SHOWN[fact], *(value for _, ends in rows for value in ends), *(band or ())]
    edges = [place(max(value, 1.0) if fact == SIZE else value) for value in values]
    room = 0.03 * (max(edges) - min(edges))
    low, high = min(edges) - room, max(edges) + room
    if band is not None:
        left, right = (place(value) for value in band)
        figure.add_shape(
            type="rect",
            x0=left,
            x1=min(right, high),
            y0=-0.5,
            y1=len(rows) - 0.5,
            fillcolor=faded(paper.text, 0.07),
            line={"width": 0},
            layer="below",
        )
    for row, (name, ends) in enumerate(rows):
        ink = label_ink(name, labels, theme)
        left, right = (place(value) for value in ends)
        thin = max(_THINNEST * (high - low) - (right - left), 0.0) / 2
        figure.add_trace(
            go.Bar(
                base=[left - thin],
                x=[right - left + 2 * thin],
                y=[row],
                orientation="h",
                width=0.26,
                name=name,
                marker={"color": ink.fill, "line": {"width": 0}},
                hovertemplate=f"{safe(name)}: {safe(describe_range(fact, ends))}<extra></extra>",
            )
        )
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=row,
            yshift=15,
            text=f"<b>{shorten(name, 22)}</b> {safe(describe_range(fact, ends))}",
            font={"color": ink.text, "size": SMALL},
            **PLAIN,
        )
    axis = axis_style(theme)
    if fact == SIZE:
        ticks = [size for size in _SIZES if low <= place(size) <= high]
        axis |= {"tickvals": [place(size) for size in ticks], "ticktext": [f"{size:,} px" for size in ticks]}
    figure.update_xaxes(range=[low, high], **axis)
    figure.update_yaxes(range=[len(rows) - 0.5, -0.75], visible=False, fixedrange=True)
    figure.update_layout(barmode="overlay", barcornerradius=3)
    return figure
