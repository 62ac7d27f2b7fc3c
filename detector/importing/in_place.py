"""Importing files that stay where they are: for sets that are too large to copy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detector.errors import EntryUnreadable, InvalidInput
from detector.storage.places import Place


def in_place_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The job payload of an import, for leaving the files where they are. Raises InvalidInput for what is no folder."""
    if payload["from"] != "folder":
        raise InvalidInput(
            f"{payload['title']} cannot be imported in place: only the files of a folder can stay where they are. "
            "Unpack it, or import it without --in-place."
        )
    return {**payload, "in_place": True}


def require_noted(path: Path, name: str) -> None:
    """Refuse a file whose path cannot be written down as text. Raises EntryUnreadable."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise EntryUnreadable(name, "its name is no text in UTF-8, so that its place cannot be stored") from error


def place_of(path: Path, byte_count: int) -> Place:
    """The place of a file that was just read, with its size then."""
    try:
        modified = path.stat().st_mtime
    except OSError:
        # Gone since it was read: whoever reads it next is told.
        modified = 0.0
    return Place(str(path), byte_count, modified)
