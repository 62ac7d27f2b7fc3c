"""The grid of tiles of the Review page: a component of our own, since 96 `st.image` would re-encode on every rerun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from detector.charts.palette import PAPER, Theme
from detector.formatting import percent
from pages._gallery_memory import GalleryMemory, Gesture, opened_of
from pages._style import current_theme

__all__ = ["GalleryState", "Gesture", "LabelKey", "Large", "Near", "Tile", "TileSize", "gallery", "select", "taking"]

TileSize = Literal["S", "M", "L"]

_HERE = Path(__file__).parent
#: One module in the browser: the last part has its default export, the others what that calls.
_SCRIPTS = ("_gallery_log.js", "_gallery_tile.js", "_gallery_zoom.js", "_gallery_large.js", "_gallery.js")
_SHEETS = ("_gallery.css", "_gallery_large.css")


def _joined(names: Sequence[str]) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


_component = st.components.v2.component(
    "detector_gallery",
    html=(_HERE / "_gallery.html").read_text(encoding="utf-8"),
    css=_joined(_SHEETS),
    js=_joined(_SCRIPTS),
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
        ``#rrggbb`` for the label's word (`detector.charts.palette.Ink.text`).
    prediction : str or None
        What the function says; ``None`` where there is no prediction yet.
    prediction_colour : str
        ``#rrggbb`` of the bar (`detector.charts.palette.Ink.fill`).
    confidence : float or None
        Of the prediction, 0 to 1: the filled part of the bar.
    differs : bool
        Whether the prediction is another label than the annotation.
    title : str
        The file's name, shown on hover and read out first.
    stack : int
        How many near-duplicates the tile stands for, itself included.
    note : str
        A few grey words on the picture ("test set").
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
    stack: int = 1
    note: str = ""

    @property
    def says(self) -> str:
        """The second line: what the function says, and how sure it is."""
        if self.prediction is None:
            return "no prediction yet"
        if self.confidence is None:
            return f"says {self.prediction}"
        return f"says {self.prediction} {percent(self.confidence, 0)}"


@dataclass(frozen=True)
class LabelKey:
    """One label that can be given; the first nine have the keys 1 to 9, in the order passed.

    Attributes
    ----------
    id, name : str
    colour : str
        ``#rrggbb`` for its word (`detector.charts.palette.Ink.text`).
    """

    id: str
    name: str
    colour: str


@dataclass(frozen=True)
class Near:
    """One of the samples most like the one in the large view; pressing it opens it there.

    Attributes
    ----------
    id : str
    thumbnail_url, title : str
    label : str or None
    label_colour : str
    similarity : str
        In words, as shown.
    """

    id: str
    thumbnail_url: str
    title: str
    label: str | None
    label_colour: str
    similarity: str


@dataclass(frozen=True)
class Large:
    """All that the large view says of one sample.

    Attributes
    ----------
    id, image_url, title : str
    width, height : int
        Pixels of the file: 100 % shows one of them on one of the screen.
    label : str or None
    label_colour : str
    says : str
        What the function says, in words.
    prediction : str or None
        The label that it says.
    differs : bool
        Whether that is another label than the annotation.
    confidences : sequence of (str, str, float)
        Name, ``#rrggbb`` of the bar, and fraction 0 to 1, of every label.
    facts : sequence of (str, str)
        Of the file and the sample: name and value.
    history : sequence of str
        Of its annotations, a line each.
    near : sequence of Near
    """

    id: str
    image_url: str
    title: str
    width: int
    height: int
    label: str | None
    label_colour: str
    says: str
    prediction: str | None = None
    differs: bool = False
    confidences: Sequence[tuple[str, str, float]] = ()
    facts: Sequence[tuple[str, str]] = ()
    history: Sequence[str] = ()
    near: Sequence[Near] = ()


@dataclass(frozen=True)
class GalleryState:
    """What a person has done with a gallery.

    Attributes
    ----------
    selected : list of str
        In the order shown.
    opened : str or None
        The sample in the large view: pass its `Large`.
    gestures : list of Gesture
        New ones, oldest first. Each is handed out once: act on them before any other call of Streamlit, since it may
        stop the run at every one of them.
    """

    selected: list[str] = field(default_factory=list)
    opened: str | None = None
    gestures: list[Gesture] = field(default_factory=list)


@contextmanager
def taking(key: str) -> Iterator[GalleryState]:
    """What was done since the last run, for a page that acts on it, inside, before it draws the gallery.

    Without it, `gallery` hands out the gestures, and the page has to run again to show what came of them. Pass the
    selection on to `gallery`. What is inside never runs beside an earlier run that is stopped but still acting.

    Parameters
    ----------
    key : str
        Of the gallery.
    """
    memory, report = _memory(key)
    with memory.acting:
        yield GalleryState(memory.offer(report), opened_of(report), memory.take(report))


def select(key: str, ids: Sequence[str]) -> None:
    """Set what is selected, from a callback or before the gallery is drawn; whatever the page then passes.

    Parameters
    ----------
    key : str
        Of the gallery.
    ids : sequence of str
        Empty to clear the selection.
    """
    memory, _ = _memory(key)
    memory.commanded = list(ids)


def gallery(
    tiles: Sequence[Tile],
    selected: Sequence[str],
    labels: Sequence[LabelKey],
    key: str,
    *,
    size: TileSize = "M",
    large: Large | None = None,
    undoable: int = 0,
    everything: int = 0,
) -> GalleryState:
    """Show the tiles, and return what is selected, what is open, and what was done.

    Passing back the selection that it (or `taking`) gave last leaves the selection to the person; passing anything
    else (``[]`` after relabelling) sets it. Its keys are listed in the component itself, under ``?``.

    Parameters
    ----------
    tiles : sequence of Tile
        One page of samples, in the order shown.
    selected : sequence of str
        Ids the page holds as selected.
    labels : sequence of LabelKey
        That can be given, in the order of their keys.
    key : str
        Of this gallery, unique in the app.
    size : {"S", "M", "L"}
        Of the tiles.
    large : Large, optional
        Of the sample that the state says is open.
    undoable : int
        0 where no change of labels can be undone; more is not told apart.
    everything : int
        How many samples are selected where that is all that match, on other pages too; else 0. The tiles are drawn as
        selected then, a label key asks for all of them ("label-all"), and selecting by hand ends it ("leave-all").

    Returns
    -------
    GalleryState
        ``selected`` holds only tiles shown: nothing that one does not see can be relabelled.
    """
    memory, report = _memory(key)
    returned, revision = memory.choose(report, selected, [tile.id for tile in tiles])
    _component(
        key=key,
        data={
            "key": key,
            "session": memory.session,
            "acknowledged": memory.acknowledged(report),
            "tiles": [asdict(tile) | {"says": tile.says} for tile in tiles],
            "selected": returned,
            "revision": revision,
            "labels": [asdict(label) for label in labels],
            "size": size,
            "opened": opened_of(report),
            "large": _large(large) if large is not None else None,
            "undoable": undoable,
            "everything": everything,
            "paper": _paper(current_theme()),
        },
        on_report_change=lambda: None,
    )
    # Only now: where the run was stopped before the data left, the next one decides afresh.
    memory.note(report, returned, revision)
    return GalleryState(list(returned), opened_of(report), memory.take(report))


def _memory(key: str) -> tuple[GalleryMemory, Any]:
    memory: GalleryMemory = st.session_state.setdefault(f"{key}-memory", GalleryMemory())
    return memory, memory.own((st.session_state.get(key) or {}).get("report"))


def _large(large: Large) -> dict[str, Any]:
    bars = [
        {"name": name, "colour": colour, "fraction": fraction, "words": percent(fraction)}
        for name, colour, fraction in large.confidences
    ]
    facts = [[name, value] for name, value in large.facts]
    return asdict(large) | {"confidences": bars, "facts": facts, "history": list(large.history)}


def _paper(theme: Theme) -> dict[str, str]:
    """The roles that Streamlit's own variables do not carry into a component."""
    paper = PAPER[theme]
    return {"card": paper.card, "track": paper.track, "muted": paper.muted}
