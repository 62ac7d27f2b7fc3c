"""The colours of labels, and of what surrounds them, in charts, tiles and bars.

Colour means a label here and nothing else. The list keeps its members apart for people who confuse red and green as
well (a test simulates that), and every use of a colour also carries the label's word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from detector.storage.label_names import spelling_among

Theme = Literal["light", "dark"]


@dataclass(frozen=True)
class Ink:
    """One label's colour.

    Attributes
    ----------
    fill : str
        ``#rrggbb`` for areas, lines and marks.
    text : str
        ``#rrggbb`` of the same hue for words: at least 4.5 : 1 against the paper and the cards.
    """

    fill: str
    text: str


@dataclass(frozen=True)
class Paper:
    """What the inks lie on; the values stand in ``.streamlit/config.toml`` too, and a test compares them.

    Attributes
    ----------
    ground, card, track, hairline, text, muted : str
        ``#rrggbb``: the page, a card on it, the empty part of a bar, thin rules, words, and words of less weight.
    warning, warning_line : str
        ``#rrggbb``: the ground of a banner that must not be overlooked, and its border.
    neutral : Ink
        For what is without a label, and for a verdict that cannot be told.
    """

    ground: str
    card: str
    track: str
    hairline: str
    text: str
    muted: str
    warning: str
    warning_line: str
    neutral: Ink


PAPER: dict[Theme, Paper] = {
    "light": Paper(
        ground="#fbfaf7",
        card="#ffffff",
        track="#eee9dc",
        hairline="#e4dfd4",
        text="#1b2430",
        muted="#5b6672",
        warning="#fdeeea",
        warning_line="#eeb7a5",
        neutral=Ink(fill="#7b8590", text="#66707b"),
    ),
    "dark": Paper(
        ground="#161a20",
        card="#1d222a",
        track="#303742",
        hairline="#323944",
        text="#e8e6e1",
        muted="#a4abb4",
        warning="#3a211c",
        warning_line="#7d4435",
        neutral=Ink(fill="#a2a7ad", text="#a2a7ad"),
    ),
}

_OWN: dict[Theme, dict[str, Ink]] = {
    "light": {"real": Ink("#1f6f8b", "#1f6f8b"), "synthetic": Ink("#d1603d", "#b84a27")},
    "dark": {"real": Ink("#4db4d8", "#4db4d8"), "synthetic": Ink("#ee8a66", "#ee8a66")},
}

# Wine, green, ochre, blue, lilac: the same hue at the same place in both themes.
_FURTHER: dict[Theme, tuple[Ink, ...]] = {
    "light": (
        Ink("#8a1635", "#8a1635"),
        Ink("#2a9d78", "#1d7d5e"),
        Ink("#d99a2b", "#8f6209"),
        Ink("#2b62d9", "#2b62d9"),
        Ink("#c184e6", "#8f4fb8"),
    ),
    "dark": (
        Ink("#c2476b", "#e27a96"),
        Ink("#7fe0b8", "#7fe0b8"),
        Ink("#ffd95c", "#ffd95c"),
        Ink("#4a7ff0", "#8aadf7"),
        Ink("#e8cdfa", "#e8cdfa"),
    ),
}

DISTINCT_LABELS = len(_OWN["light"]) + len(_FURTHER["light"])
"""Labels that can have a colour of their own; after that the further colours begin again."""


def label_inks(labels: Iterable[str], theme: Theme = "light") -> dict[str, Ink]:
    """Give every label of a function its colour.

    Parameters
    ----------
    labels : iterable of str
        All labels of the function in its own order. Pass all of them, also where only some are drawn: the colours of
        labels other than ``real`` and ``synthetic`` depend on the place in this list.
    theme : {"light", "dark"}

    Returns
    -------
    dict of str to Ink
        In the order given.
    """
    names, further = list(labels), _FURTHER[theme]
    # "Real" is real, too; of two spellings in one function only one can have the colour.
    own = {spelling_among(name, names): ink for name, ink in _OWN[theme].items()}
    inks: dict[str, Ink] = {}
    taken = 0
    for label in names:
        if label in inks:
            continue
        if label in own:
            inks[label] = own[label]
        else:
            inks[label] = further[taken % len(further)]
            taken += 1
    return inks


def label_ink(label: str | None, labels: Sequence[str], theme: Theme = "light") -> Ink:
    """One label's colour, grey for ``None`` and for a label that the function does not (or no longer) have.

    Parameters
    ----------
    label : str or None
    labels : sequence of str
        All labels of the function in its own order, as for `label_inks`.
    theme : {"light", "dark"}
    """
    if label is None or label not in labels:
        return PAPER[theme].neutral
    return label_inks(labels, theme)[label]
