"""The grid of tiles of the Review page: a component of our own, since 96 `st.image` would re-encode on every rerun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from detector.palette import PAPER, Theme
from detector.words import percent
from pages._style import current_theme

TileSize = Literal["S", "M", "L"]

_HTML = """
<div class="gallery">
  <div class="actions" role="toolbar" aria-label="Selection">
    <button type="button" class="select-page">select page</button>
    <button type="button" class="clear">clear</button>
    <span class="hint">shift-click selects a range</span>
    <span class="spoken" aria-live="polite"></span>
  </div>
  <div class="grid" role="listbox" aria-label="Samples" aria-multiselectable="true"></div>
</div>
"""


_component = st.components.v2.component(
    "detector_gallery",
    html=_HTML,
    css=(Path(__file__).parent / "_gallery.css").read_text(encoding="utf-8"),
    js=(Path(__file__).parent / "_gallery.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Tile:
    """One sample as the gallery shows it.

    Attributes
    ----------
    id : str
        What the selection holds; unique on the page.
    thumbnail_url : str
        Where the browser fetches the picture; keep it the same between reruns, or the cache is of no use.
    label : str or None
        The annotation; ``None`` is shown as "no label".
    label_colour : str
        ``#rrggbb`` for the label's word (`detector.palette.Ink.text`).
    prediction : str or None
        What the function says; ``None`` where there is no prediction yet.
    prediction_colour : str
        ``#rrggbb`` of the bar (`detector.palette.Ink.fill`).
    confidence : float or None
        Of the prediction, 0 to 1: the filled part of the bar.
    differs : bool
        Whether the prediction is another label than the annotation.
    title : str
        The file's name, shown on hover and read out first.
    """

    id: str
    thumbnail_url: str
    label: str | None
    label_colour: str
    prediction: str | None
    prediction_colour: str
    confidence: float | None
    differs: bool
    title: str

    @property
    def says(self) -> str:
        """The second line: what the function says, and how sure it is."""
        if self.prediction is None:
            return "no prediction yet"
        if self.confidence is None:
            return f"says {self.prediction}"
        return f"says {self.prediction} {percent(self.confidence, 0)}"

    @property
    def spoken(self) -> str:
        """The whole tile in words, for a screen reader."""
        parts = [self.title, f"labelled {self.label}" if self.label is not None else "no label", self.says]
        if self.differs:
            parts.append("differs from the label")
        return ", ".join(part for part in parts if part)


def gallery(tiles: Sequence[Tile], selected: Sequence[str], key: str, size: TileSize = "M") -> list[str]:
    """Show the tiles and return which of them are selected.

    Call it as ``st.session_state.chosen = gallery(tiles, st.session_state.get("chosen", []), "review")``: passing back
    what it returned last leaves the selection to the person; passing anything else (``[]`` after relabelling) sets it.

    A click toggles a tile, shift-click adds the range from the last one; arrow keys move, space toggles, shift with
    either adds a range, Ctrl+A selects the page, Escape clears.

    Parameters
    ----------
    tiles : sequence of Tile
        One page of samples, in the order shown.
    selected : sequence of str
        Ids the page holds as selected.
    key : str
        Of this gallery, unique in the app.
    size : {"S", "M", "L"}
        Of the tiles.

    Returns
    -------
    list of str
        Ids in the order of ``tiles``. Only tiles shown: nothing that one does not see can be relabelled.
    """
    memory = st.session_state.setdefault(f"{key}-memory", {"revision": 0, "returned": None})
    report = (st.session_state.get(key) or {}).get("selection")
    if memory["returned"] is not None and list(selected) != memory["returned"]:
        memory["revision"] += 1
        chosen = set(selected)
    elif report and report["revision"] == memory["revision"]:
        chosen = set(report["ids"])
    else:
        chosen = set(selected)
    returned = [tile.id for tile in tiles if tile.id in chosen]
    if len(returned) < len(chosen):
        # Tiles have left the page: void the report that still names them, or they come back selected with the page.
        memory["revision"] += 1
    memory["returned"] = returned
    _component(
        key=key,
        data={
            "tiles": [_wire(tile) for tile in tiles],
            "selected": returned,
            "revision": memory["revision"],
            "size": size,
            "paper": _paper(current_theme()),
        },
        on_selection_change=lambda: None,
    )
    return list(returned)


def _wire(tile: Tile) -> dict[str, Any]:
    return asdict(tile) | {"says": tile.says, "spoken": tile.spoken}


def _paper(theme: Theme) -> dict[str, str]:
    """The two roles that Streamlit's own variables do not carry into a component."""
    return {"card": PAPER[theme].card, "track": PAPER[theme].track}
