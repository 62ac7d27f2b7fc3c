"""When two label names are the same name: however a letter was typed or stored, and in whatever case."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def label_key(name: str) -> str:
    """What a label's name is compared by: NFC and case-folded, without space around it.

    macOS writes "ü" as two characters (NFD), others as one (NFC): two labels that look alike would be trained against
    each other.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())


def spelling_among(name: str, known: Iterable[str]) -> str | None:
    """How ``known`` spells a name: exactly so, else the first of the same key; None where it is not among them."""
    first = None
    for other in known:
        if other == name:
            return other
        if first is None and label_key(other) == label_key(name):
            first = other
    return first
