"""How time and memory grow with the number of samples (2,912 numbers each, the offline backbone's), as a picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

_TITLES = {
    "sweep_s": "Sweep (s)",
    "predict_s": "Predictions written (s)",
    "columns_s": "Columns of Review loaded (s)",
    "rss_mb": "Peak memory of a build (MB)",
}


def draw_growth(path: Path, growth: dict[str, dict[str, float]]) -> None:
    """Write a PNG with one panel a measure, both axes logarithmic.

    Parameters
    ----------
    growth : dict of str to dict of str to float
        By measure, the value by number of samples (as text, as JSON has it).
    """
    from playwright.sync_api import sync_playwright

    names = [name for name in _TITLES if growth.get(name)]
    figure = make_subplots(rows=1, cols=len(names), subplot_titles=[_TITLES[name] for name in names])
    for column, name in enumerate(names, 1):
        points = sorted((int(n), value) for n, value in growth[name].items())
        figure.add_trace(
            go.Scatter(
                x=[n for n, _ in points],
                y=[value for _, value in points],
                text=[f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for _, value in points],
                mode="lines+markers+text",
                textposition="top center",
                line={"color": "#1f6f8b"},
                cliponaxis=False,
            ),
            row=1,
            col=column,
        )
    figure.update_xaxes(type="log", title="samples", dtick=1)
    figure.update_yaxes(type="log", showticklabels=False)
    figure.update_layout(
        showlegend=False, width=1200, height=380, template="plotly_white", margin={"t": 60, "l": 40, "r": 40, "b": 50}
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1220, "height": 400})
        page.set_content(figure.to_html(include_plotlyjs=True, full_html=True))
        page.wait_for_selector(".main-svg")
        page.wait_for_timeout(500)
        page.screenshot(path=str(path))
        browser.close()
