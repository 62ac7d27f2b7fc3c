"""What was invoked, as counts: gathered in memory and written behind the answers, nothing of a single picture.

They show how the pictures that a function is asked about differ from those that it was trained on. Whoever answers an
invoke says so by `record_invoke`; what was counted reaches the database a few seconds later, or when the server stops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from detector.imaging.file_look import FileLook
from detector.serving.invoke import Verdict
from detector.storage.database import Database, now
from detector.storage.invoke_days import Counts, InvokeDay, add_invokes
from detector.storage.trouble import storage_trouble
from detector.training.thresholds import CANT_TELL
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: The doors that are counted.
PAGE: Final = "page"
API: Final = "api"

#: What is counted of each invoke. Of a verdict: its grade and the label's id, or that it can't tell.
SAID, CONFIDENCE, SIDE, QUALITY, FORMAT = "said", "confidence", "side", "quality", "format"
#: The bin of files that keep every pixel, among those of JPEG qualities.
LOSSLESS: Final = "lossless"
CONFIDENCE_BINS = 10
QUALITY_STEP = 10

#: How long counts gather: each transaction waits for the disk.
_GATHER_SECONDS = 5.0

_Key = tuple[str, str, str, str]

_lock = threading.Lock()
#: By database: by function, day, door and model: how many, and the counts. Small, however many are invoked.
_gathered: dict[Database, dict[_Key, tuple[int, Counts]]] = {}
_thread: threading.Thread | None = None


def confidence_bin(confidence: float) -> str:
    """Which of ten equal bins over 0..1 a confidence lies in, "0" to "9"; 1 is in the last."""
    return str(min(int(confidence * CONFIDENCE_BINS), CONFIDENCE_BINS - 1))


def side_bin(side: int) -> str:
    """The bin of a shorter side: "8" holds 256 to 511 pixels."""
    return str(max(side, 1).bit_length() - 1)


def quality_bin(quality: int | None, lossless: bool) -> str | None:
    """The bin of how a file was saved: "80" holds JPEG qualities 80 to 89; None for formats that do not say theirs."""
    if quality is not None:
        return str(QUALITY_STEP * (quality // QUALITY_STEP))
    return LOSSLESS if lossless else None


def said_bin(grade: str, label_id: str) -> str:
    """The bin of what was said: the grade and the label, or `CANT_TELL`."""
    return CANT_TELL if grade == CANT_TELL else f"{grade} {label_id}"


def counts_of(verdict: Verdict) -> dict[str, str]:
    """The bin of one verdict for each part of what is counted; a part that is not known is left out."""
    look = verdict.look
    found = {SAID: said_bin(verdict.grade, verdict.label_id), CONFIDENCE: confidence_bin(verdict.confidence)}
    return found if look is None else found | file_bins(look)


def file_bins(look: FileLook) -> dict[str, str]:
    """The bins of one file."""
    found = {SIDE: side_bin(look.side)}
    saved = quality_bin(look.quality, look.lossless)
    if saved is not None:
        found[QUALITY] = saved
    if look.format:
        found[FORMAT] = look.format
    return found


def record_invoke(ws: Workspace, function_id: str, door: str, verdict: Verdict) -> None:
    """Count one answered invoke; it is written later, and a failure of that is a line in the log.

    Parameters
    ----------
    door : str
        `PAGE` or `API`.
    """
    global _thread
    key = (function_id, datetime.fromtimestamp(now(), UTC).date().isoformat(), door, verdict.model_id)
    bins = counts_of(verdict)
    with _lock:
        mine = _gathered.setdefault(ws.db, {})
        count, counts = mine.get(key, (0, {}))
        for part, name in bins.items():
            known = counts.setdefault(part, {})
            known[name] = known.get(name, 0) + 1
        mine[key] = (count + 1, counts)
        if _thread is None:
            _thread = threading.Thread(target=_run, name="count-invokes", daemon=True)
            _thread.start()


def write_invokes() -> None:
    """Write at once what has gathered."""
    with _lock:
        gathered = {db: mine for db, mine in _gathered.items() if mine}
        _gathered.clear()
    for db, mine in gathered.items():
        _write(db, (InvokeDay(*key, *found) for key, found in mine.items()))


def _write(db: Database, counted: Iterable[InvokeDay]) -> None:
    days = list(counted)
    try:
        add_invokes(db, days)
    except Exception as error:
        # Nobody waits for this. In one line where the disk is full: the log may lie there too.
        trouble = storage_trouble(error)
        number = sum(item.count for item in days)
        log.error("%d invokes could not be counted: %s", number, trouble or error, exc_info=trouble is None)


def _run() -> None:
    """Write what gathers, until nothing does."""
    global _thread
    while True:
        time.sleep(_GATHER_SECONDS)
        with _lock:
            if not _gathered:
                _thread = None
                return
        write_invokes()
