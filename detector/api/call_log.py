"""The note about each call, written behind the answers: nobody should wait for the note about their call."""

from __future__ import annotations

import logging
import threading
from typing import Any

from detector.storage.calls import record_calls
from detector.storage.trouble import storage_trouble
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: How long notes gather: each transaction waits for the disk, and a busy server has hundreds of calls a second.
_GATHER_SECONDS = 0.1


class CallRecorder:
    """Writes notes of calls in a thread of its own, those of a moment in one transaction.

    Parameters
    ----------
    ws : Workspace
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._noted: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def record(self, values: dict[str, Any]) -> None:
        """Note a call; ``values`` as for `detector.storage.calls.record_calls`."""
        with self._lock:
            self._noted.append(values)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="record-calls", daemon=True)
                self._thread.start()
        self._some.set()

    def stop(self) -> None:
        """Write what is noted, then end the thread."""
        self._stopped.set()
        self._some.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._some.wait()
            self._stopped.wait(_GATHER_SECONDS)
            self._some.clear()
            with self._lock:
                noted, self._noted = self._noted, []
            try:
                record_calls(self._ws.db, noted)
            except Exception as error:
                # Nobody waits for this thread; calls that could not be noted must at least be in the log. In one line
                # where the disk is full: the log may lie there too.
                trouble = storage_trouble(error)
                log.error("%d calls could not be recorded: %s", len(noted), trouble or error, exc_info=trouble is None)
