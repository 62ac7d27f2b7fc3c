"""When two label names are the same name: however a letter was typed or stored, and in whatever case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from detector.errors import InvalidInput

#: What is said where no label is sure enough. No label's name: nobody could tell the two apart.
CANT_TELL = "can't tell"
#: Characters without ink that are neither space nor of the kind "format".
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
#: They turn round in which direction all that follows is read, in a sentence around a name too. No name needs them:
#: letters of right-to-left scripts know their direction.
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
#: They join emoji and shape letters: two names that differ by them may look different.
_JOINERS = "\u200c\u200d"


def visible_form(name: str) -> str:
    """``name`` as an eye sees it: accents in one form (NFC), each space one space, without what has no ink."""
    inked = "".join(character for character in name if character in _JOINERS or unicodedata.category(character) != "Cf")
    return " ".join(unicodedata.normalize("NFC", inked).split())


def is_blank(name: str) -> bool:
    """Whether there is nothing to be seen of a name: spaces, and what has no ink."""
    return all(
        character.isspace() or character in _BLANK or unicodedata.category(character) in ("Cc", "Cf", "Mn", "Zs")
        for character in name
    )


def label_key(name: str) -> str:
    """What a label's name is compared by: as it looks (`visible_form`), and in whatever case.

    macOS writes "ü" as two characters (NFD), others as one (NFC): two labels that look alike would be trained against
    each other.
    """
    return unicodedata.normalize("NFC", visible_form(name).casefold())


def is_taken_by_verdict(name: str) -> bool:
    """Whether a label of this name would read like the verdict "can't tell", with whichever apostrophe."""
    return label_key(name).replace("\u2019", "'") == CANT_TELL


#: The comma of keyboards for Latin, Arabic, Chinese and Japanese, the full-width one, and the one between small words.
_COMMAS = re.compile("[,\u060c\uff0c\u3001\ufe50\uff64]")


def typed_labels(text: str) -> list[str]:
    """The labels that a person types with commas between them; none where there is nothing: folders may name them.

    Raises
    ------
    InvalidInput
        Just one: there would be nothing to tell it from.
    """
    names = [part.strip() for part in _COMMAS.split(text) if not is_blank(part)]
    if len(names) == 1:
        raise InvalidInput(
            f"{names[0]!r} is the only label, and there is nothing to tell it from. Give at least two, separated by "
            "commas, or none: then the folders of the first import name them."
        )
    return names


def spelling_among(name: str, known: Iterable[str]) -> str | None:
    """How ``known`` spells a name: exactly so, else the first of the same key; None where it is not among them."""
    first = None
    for other in known:
        if other == name:
            return other
        if first is None and label_key(other) == label_key(name):
            first = other
    return first
