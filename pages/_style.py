"""What the theme in ``.streamlit/config.toml`` cannot say: one small stylesheet, and which theme is on."""

from __future__ import annotations

from typing import Any

import streamlit as st

from detector.palette import PAPER, Theme


def current_theme() -> Theme:
    """Whether the person's browser shows the page light or dark; light where it has not told yet."""
    return "dark" if st.context.theme.type == "dark" else "light"


def apply_style() -> None:
    """Add the stylesheet; call it once a run, in the dashboard script before the page."""
    theme = current_theme()
    paper = PAPER[theme]
    sheet = paper.card if theme == "light" else paper.track
    roles = (
        f":root {{ --card: {paper.card}; --hairline: {paper.hairline}; --muted: {paper.muted}; "
        f"--sheet: {sheet}; --ink-button: {paper.text}; --ink-button-text: {paper.ground}; }}"
    )
    st.html(f"<style>{roles}{_CSS}</style>")


def card(key: str, **options: Any) -> Any:
    """Give a container with the card's ground and border.

    Parameters
    ----------
    key : str
        Unique on the page; Streamlit turns it into the class by which the stylesheet knows a card.
    options
        Passed on to `st.container`.
    """
    return st.container(border=True, key=f"card-{key}", **options)


# Streamlit's test ids and data attributes only: its class names change with every release.
_CSS = """
[data-testid="stMainBlockContainer"] { max-width: 84rem; padding-left: 2.4rem; padding-right: 2.4rem; }
[data-testid="stMainBlockContainer"] h1 { padding: 0.4rem 0 0; letter-spacing: -0.01em; }
[data-testid="stMainBlockContainer"] h2, [data-testid="stMainBlockContainer"] h3 { padding: 0.2rem 0 0; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] * { color: var(--muted); opacity: 1; }
[class*="st-key-card-"] { background: var(--card); }

/* In the dark a card must be lighter than the sidebar, which is lighter than the page. */
[data-testid="stSidebar"] { --card: var(--sheet); }

/* The page at hand is a sheet of paper in the sidebar. */
[data-testid="stSidebarNavLink"] { padding-top: 0.4rem; padding-bottom: 0.4rem; }
[data-testid="stSidebarNavLink"][aria-current="page"] {
  background: var(--card); box-shadow: 0 1px 2px rgb(0 0 0 / 8%);
}

/* A chosen filter is dark: one sees from afar that not all is shown. */
.stApp button[data-variant="pills"][data-selected="true"][role],
.stApp button[data-variant="segmented_control"][data-selected="true"][role] {
  background: var(--ink-button); border-color: var(--ink-button); color: var(--ink-button-text);
}

@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding-left: 1rem; padding-right: 1rem; }
  [class*="st-key-card-"] { padding: 0.8rem; }
}
"""
