"""What the theme in ``.streamlit/config.toml`` cannot say: one small stylesheet, and which theme is on."""

from __future__ import annotations

from typing import Any

import streamlit as st

from detector.charts.palette import PAPER, Theme


def current_theme() -> Theme:
    """Whether the person's browser shows the page light or dark; light where it has not told yet."""
    return "dark" if st.context.theme.type == "dark" else "light"


def apply_style() -> None:
    """Add the stylesheet; call it once a run, in the dashboard script before the page."""
    theme = current_theme()
    paper = PAPER[theme]
    sheet = paper.card if theme == "light" else paper.track
    roles = (
        f":root {{ --card: {paper.card}; --hairline: {paper.hairline}; --muted: {paper.muted}; --track: {paper.track}; "
        f"--sheet: {sheet}; --ink-button: {paper.text}; --ink-button-text: {paper.ground}; "
        f"--warning: {paper.warning}; --warning-line: {paper.warning_line}; }}"
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
[data-testid="stMainBlockContainer"] h1 { padding: 0.4rem 0 0.25rem; letter-spacing: -0.01em; }
[data-testid="stMainBlockContainer"] h2, [data-testid="stMainBlockContainer"] h3 { padding: 0.2rem 0 0; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] * { color: var(--muted); opacity: 1; }
[class*="st-key-card-"] { background: var(--card); }

/* In the dark a card must be lighter than the sidebar, which is lighter than the page. */
[data-testid="stSidebar"] { --card: var(--sheet); }

/* The brand stands where pages have their title. */
[data-testid="stSidebarHeader"] { height: 1.6rem; padding-top: 0.4rem; margin-bottom: 0; }

/* The page at hand is a sheet of paper in the sidebar. */
[data-testid="stSidebar"] [data-testid="stPageLink-NavLink"] { padding: 0.35rem 0.6rem; border-radius: 0.5rem; }
.st-key-page-at-hand [data-testid="stPageLink-NavLink"] {
  background: var(--card); box-shadow: 0 1px 2px rgb(0 0 0 / 8%); font-weight: 650;
}
.st-key-pages { gap: 0.15rem; }

/* Code in the page's own ink: Streamlit's blue and green are too dim for words, and colour means a label here. */
.stApp code .token { color: inherit !important; }
.stApp code .token.keyword, .stApp code .token.builtin { font-weight: 700; }
.stApp code .token.string, .stApp code .token.comment { color: var(--muted) !important; }

/* A chosen filter is dark: one sees from afar that not all is shown. */
.stApp button[data-variant="pills"][data-selected="true"][role],
.stApp button[data-variant="segmented_control"][data-selected="true"][role] {
  background: var(--ink-button); border-color: var(--ink-button); color: var(--ink-button-text);
}

/* The dark theme's button colour is too dim for words. */
[data-testid="stTab"][aria-selected="true"], [data-testid="stTab"][aria-selected="true"] p { color: var(--ink-button); }
[data-testid="stSliderThumbValue"] { color: var(--ink-button); }

/* A table's own download has no guard against cells that a spreadsheet would run, and where there is a table to take
   away a button of ours stands below it, of the same name. */
[data-testid="stElementToolbar"] button[aria-label="Download as CSV"] { display: none; }

/* The app's name and mark: the two inks. */
.brand { display: flex; align-items: center; gap: 0.5rem; font-weight: 700; font-size: 1.15rem; }
.brand-mark {
  flex: none; width: 1.15rem; height: 1.15rem; border-radius: 0.3rem;
  background: linear-gradient(135deg, #1f6f8b 50%, #d1603d 50%);
}

/* What one must not overlook: the figures may be worth nothing. */
.st-key-banner {
  gap: 0.6rem; padding: 1rem 1.25rem; border: 1px solid var(--warning-line); border-radius: 0.6rem;
  background: var(--warning);
}
.st-key-banner p { margin: 0; }
.st-key-banner ul { margin: 0.5rem 0 0; padding-left: 1.2rem; }
.st-key-banner li span { color: var(--muted); }

/* A figure that a card is there for, a verdict, and a bar a label under it. */
.figure { font-size: 2rem; font-weight: 700; line-height: 1.2; font-variant-numeric: tabular-nums; }
.verdict { font-size: 2rem; font-weight: 700; line-height: 1.2; overflow-wrap: anywhere; }
.score { display: flex; justify-content: space-between; gap: 1rem; font-variant-numeric: tabular-nums; }
.track { height: 0.5rem; margin: 0.2rem 0 0.7rem; border-radius: 0.25rem; background: var(--track); overflow: hidden; }
.track > div { height: 100%; }

.grade {
  display: inline-block; padding: 0.1rem 0.6rem; border: 1px solid currentcolor; border-radius: 1rem;
  font-size: 0.85rem; font-weight: 600; line-height: 1.5; vertical-align: middle;
}

.quiet { color: var(--muted); font-size: 0.875rem; }

/* The place for pictures of Invoke: as high as it may be, so that one cannot miss it with the mouse. */
.st-key-drop [data-testid="stFileUploaderDropzone"] {
  min-height: 4.2rem; border: 1.5px dashed var(--muted); border-radius: 0.8rem; background: var(--card);
  align-items: center;
}

/* The whole picture beside its verdict, however tall it is. */
.st-key-picture img {
  max-height: 70vh; width: auto !important; max-width: 100%; object-fit: contain; border-radius: 0.5rem;
}
.st-key-before-use {
  padding: 0.7rem 1rem; border: 1px solid var(--warning-line); border-radius: 0.6rem; background: var(--warning);
}
.st-key-before-use [data-testid="stMarkdownContainer"] { margin-bottom: 0; }
.st-key-before-use p { margin: 0; }

/* A run of many pictures: its name, and how many of them got which verdict. */
.run-title { margin: 0; font-size: 1.25rem; font-weight: 650; overflow-wrap: anywhere; }
.run-counts { font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }

/* A link that fetches a file looks like what it is beside buttons. */
.download {
  display: block; padding: 0.4rem 0.8rem; border: 1px solid var(--hairline); border-radius: 0.5rem;
  color: inherit !important; text-align: center; text-decoration: none;
}
.download:hover { border-color: var(--ink-button); }

@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding-left: 1rem; padding-right: 1rem; }
  [class*="st-key-card-"] { padding: 0.8rem; }
}
"""
