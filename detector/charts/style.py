"""What all Plotly figures have in common: paper, font, axes, and words at the thing they name instead of a legend."""

from __future__ import annotations

from typing import Any

# Plotly looks whether pandas is there while it draws, and fails on one that another thread, a job's, has half imported:
# importing it here waits until it is whole.
import pandas  # noqa: F401
import plotly.graph_objects as go

from detector.charts.palette import PAPER, Theme

PLOTLY_CONFIG: dict[str, Any] = {
    "displayModeBar": False,
    "responsive": True,
    "scrollZoom": False,
    "doubleClick": False,
    "showTips": False,
}
"""For ``st.plotly_chart(config=...)``: no bar of buttons, nothing that catches the wheel or a finger on a phone."""

FONT = '"Source Sans", "Source Sans Pro", sans-serif'
SIZE = 13
SMALL = 12

PLAIN: dict[str, Any] = {"showarrow": False}
"""For annotations that are words only."""


def new_figure(theme: Theme, height: int, margin: dict[str, int]) -> go.Figure:
    """An empty figure in the app's look; ``height`` and ``margin`` in pixels."""
    figure = go.Figure()
    lay_out(figure, theme, height, margin)
    return figure


def lay_out(figure: go.Figure, theme: Theme, height: int, margin: dict[str, int]) -> None:
    """Give a figure the app's look: transparent, no legend, nothing that drags."""
    paper = PAPER[theme]
    figure.update_layout(
        template="none",
        height=height,
        margin={**margin, "pad": 4},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": SIZE, "color": paper.text},
        showlegend=False,
        dragmode=False,
        hoverlabel={
            "bgcolor": paper.card,
            "bordercolor": paper.hairline,
            "font": {"family": FONT, "size": SIZE, "color": paper.text},
            "align": "left",
        },
    )


def axis_style(theme: Theme) -> dict[str, Any]:
    """Keyword arguments for ``update_xaxes`` and ``update_yaxes``."""
    paper = PAPER[theme]
    return {
        "gridcolor": paper.hairline,
        "gridwidth": 1,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "tickfont": {"size": SMALL, "color": paper.muted},
        "fixedrange": True,
        "automargin": True,
    }


def percent_axis(figure: go.Figure, which: str, bounds: list[float], theme: Theme) -> None:
    """Let the axis ``which`` ("x" or "y") show fractions within ``bounds`` as percentages."""
    span = bounds[1] - bounds[0]
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.25) if span / step <= 6 or step == 0.25)
    update = figure.update_xaxes if which == "x" else figure.update_yaxes
    # Plotly's own "%" format sets no space before the sign; ticks are written out as everywhere else.
    ticks = [tick / 100 for tick in range(0, 101, round(step * 100)) if bounds[0] <= tick / 100 <= bounds[1]]
    update(range=bounds, tickvals=ticks, ticktext=[f"{round(100 * tick)} %" for tick in ticks], **axis_style(theme))


def axis_title(text: str, theme: Theme) -> dict[str, Any]:
    """A quiet title for one axis."""
    return {"text": text, "font": {"size": SIZE, "color": PAPER[theme].muted}, "standoff": 6}


def name_axes(figure: go.Figure, theme: Theme, across: str, up: str) -> None:
    """Name the axes; the vertical one above its end and level, so that nobody tilts their head."""
    figure.update_xaxes(title=axis_title(safe(across), theme))
    figure.add_annotation(
        x=0,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="bottom",
        yshift=6,
        text=safe(up),
        font={"color": PAPER[theme].muted, "size": SIZE},
        **PLAIN,
    )


def diagonal(figure: go.Figure, theme: Theme) -> None:
    """Draw the line where both axes are equal."""
    line = {"color": PAPER[theme].neutral.fill, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line=line, layer="below")


def faded(colour: str, opacity: float) -> str:
    """Turn ``#rrggbb`` into an ``rgba`` colour."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:.3g})"


def shorten(text: str, length: int) -> str:
    """Cut a label to ``length`` characters and make it safe for Plotly."""
    return safe(text if len(text) <= length else text[: length - 1] + "…")


def safe(text: str) -> str:
    """Labels are people's words; Plotly reads a subset of HTML in every text, and values ("%{x}") in what hovers."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "%&#123;")
