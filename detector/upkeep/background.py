"""A check in a thread of the server, for the page: one at a time, and how far it is.

No job: jobs belong to a function, and a folder without one can be checked too. What a stop of the server interrupts has
changed nothing that the next check would not find.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from detector.storage.trouble import storage_trouble
from detector.system.priority import lower_thread_priority
from detector.workspace import Workspace

log = logging.getLogger(__name__)

_UNEXPECTED = "Something unexpected went wrong; the server's log has the details."


@dataclass
class RunningCheck:
    """A check on its way, or one that could not come to its end.

    Attributes
    ----------
    repair : whether it mends too
    message, done, total : how far it is; ``total`` is 0 where that is not known
    failed : why it ended early; empty where it did not
    """

    repair: bool
    message: str = "Beginning"
    done: int = 0
    total: int = 0
    failed: str = ""


_lock = threading.Lock()
#: By the address of the database.
_checks: dict[str, RunningCheck] = {}


def start_check(ws: Workspace, repair: bool = False, quick: bool = False) -> threading.Thread | None:
    """Begin one in the background; None, and nothing happens, where one is on its way."""
    with _lock:
        known = _checks.get(ws.settings.url)
        if known is not None and not known.failed:
            return None
        running = _checks[ws.settings.url] = RunningCheck(repair)
    thread = threading.Thread(target=_run, args=(ws, running, quick), name="check", daemon=True)
    thread.start()
    return thread


def running_check(ws: Workspace) -> RunningCheck | None:
    """The one that is on its way in this process, or has failed since; None where none is."""
    return _checks.get(ws.settings.url)


def _run(ws: Workspace, running: RunningCheck, quick: bool) -> None:
    # Here, not above: pages that only show what was found need none of it.
    from detector.upkeep.check import check_all

    def report(_phase: str, done: int, total: int, message: str, _rate: float | None) -> None:
        running.message, running.done, running.total = message, done, total

    lower_thread_priority()
    try:
        check_all(ws, running.repair, quick, report)
    except Exception as error:
        trouble = storage_trouble(error)
        if trouble is None:
            log.exception("the check failed")
        running.failed = str(trouble or _UNEXPECTED)
    else:
        with _lock:
            _checks.pop(ws.settings.url, None)
