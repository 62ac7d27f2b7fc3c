"""When two label names are the same name: however a letter was typed or stored, and in whatever case."""

from __future__ import annotations

import unicodedata


def label_key(name: str) -> str:
    """What a label's name is compared by: NFC and case-folded, without space around it.

    macOS writes "ü" as two characters (NFD), others as one (NFC): two labels that look alike would be trained against
    each other.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())
