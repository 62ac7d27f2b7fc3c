"""What was said before of a picture, or of one that is nearly the same: from the records that somebody kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from detector.formatting import count, day
from detector.storage.records import NearRecord, near_records
from detector.training.thresholds import CANT_TELL
from detector.workspace import Workspace

#: More are counted, not named.
MOST_NAMED = 3


def known_records(
    ws: Workspace, function_id: str, sha256: str, perceptual_hash: str, without: str | None = None
) -> tuple[dict[str, Any], ...]:
    """Kept verdicts on the very file and on near-duplicates of its picture, for `Evidence.known`.

    Parameters
    ----------
    sha256, perceptual_hash : str
        Of the file and of its picture.
    without : str, optional
        The id of a record that is not meant: the one that is looked at.

    Returns
    -------
    tuple of dict
        ``kind`` ("record"), ``sentence``, ``record`` (its id) and ``at`` (as ISO 8601): the same file first, then the
        newest. Of more than `MOST_NAMED` the last one only counts the others.
    """
    found = [item for item in near_records(ws.db, function_id, sha256, perceptual_hash) if item.id != without]
    known: list[dict[str, Any]] = [
        {
            "kind": "record",
            "sentence": _sentence(item),
            "record": item.id,
            "at": _at(item).isoformat(),
        }
        for item in found[:MOST_NAMED]
    ]
    if (more := len(found) - MOST_NAMED) > 0:
        said = f"{count(more, 'further record')} kept of this picture or of nearly the same one."
        known.append({"kind": "record", "sentence": said})
    return tuple(known)


def _sentence(item: NearRecord) -> str:
    which = "This very picture" if item.same_file else "A near-duplicate of this picture"
    verdict = item.verdict if item.grade == CANT_TELL else f"{item.verdict} ({item.grade})"
    disputed = f" Somebody disputed that: {item.disputed_label}." if item.disputed_label else ""
    return f"{which} was invoked on {day(_at(item))}, verdict {verdict}.{disputed}"


def _at(item: NearRecord) -> datetime:
    return datetime.fromtimestamp(int(item.created_at), UTC)
