"""Tiles of a run of invokes: a component of our own, as Review's, but for looking and choosing, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import streamlit as st

from detector.charts.palette import PAPER
from pages._style import current_theme

_HERE = Path(__file__).parent

_component = st.components.v2.component(
    "detector_run_tiles",
    html='<ul aria-label="Pictures"></ul>',
    css=(_HERE / "_run_tiles.css").read_text(encoding="utf-8"),
    js=(_HERE / "_run_tiles.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class RunTile:
    """One picture as a tile shows it.

    Attributes
    ----------
    url : str
        Of its thumbnail; empty where there is none.
    verdict, colour, grade, score : str
        The word and the colour of it, and what stands beside it in small type.
    flags : tuple of str
    problem : str
        Why the file could not be used; such a tile can be neither opened nor chosen.
    """

    position: int
    name: str
    url: str
    verdict: str
    colour: str
    grade: str
    score: str
    flags: tuple[str, ...]
    problem: str


@dataclass
class Choice:
    """Which pictures of a run are chosen, on all pages of its tiles.

    Attributes
    ----------
    key : str
        Of the tiles.
    positions : set of int
    shown : frozenset of int
        Those whose tiles the browser has.
    times_set : int
        How often the page has set it: what the browser still reports of before is void.
    """

    key: str
    positions: set[int] = field(default_factory=set)
    shown: frozenset[int] = frozenset()
    times_set: int = 0

    @property
    def stamp(self) -> str:
        """What the browser's report must carry to count."""
        return f"{self.times_set}:{','.join(map(str, sorted(self.shown)))}"

    def hear(self) -> None:
        """Take in what was ticked since the page was drawn."""
        reported = (st.session_state.get(self.key) or {}).get("ticked") or {}
        if reported.get("stamp") == self.stamp:
            ticked = {int(place) for place in reported["positions"]}
            self.positions = (self.positions - self.shown) | (ticked & self.shown)

    def set(self, positions: Iterable[int]) -> None:
        """Choose these, whatever is ticked."""
        self.positions, self.times_set = {*positions}, self.times_set + 1


def choice_of(key: str) -> Choice:
    """What this session has chosen among the tiles of that key."""
    found: Choice = st.session_state.setdefault(f"{key}-choice", Choice(key))
    return found


def run_tiles(tiles: Sequence[RunTile], choice: Choice) -> int | None:
    """Show tiles, and keep what is ticked in the choice; returns the position that was opened just now."""
    choice.hear()
    choice.shown = frozenset(tile.position for tile in tiles)
    choice.hear()
    paper = PAPER[current_theme()]
    state = _component(
        key=choice.key,
        data={
            "tiles": [asdict(tile) for tile in tiles],
            "ticked": sorted(choice.positions & choice.shown),
            "stamp": choice.stamp,
            "paper": {"card": paper.card, "track": paper.track, "muted": paper.muted},
        },
        on_ticked_change=lambda: None,
        on_open_change=lambda: None,
    )
    opened = state.get("open")
    return int(opened) if opened is not None else None
