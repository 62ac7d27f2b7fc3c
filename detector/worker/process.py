"""The background process itself, started as ``python -m detector worker``: the jobs, and what it says of itself."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import IO, NoReturn

from detector.storage.folder import sqlite_file
from detector.storage.jobs import this_process
from detector.storage.trouble import may_pass
from detector.worker.runner import JobRunner
from detector.worker.running import KINDS
from detector.worker.supervisor import STOP
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: How often it says that it lives.
SIGN_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_IDLE_SECONDS = 2.0
#: In an orderly end: what a server's worker has in hand ends at its next word of progress, or is resumed; a worker by
#: itself has the time to end its batch.
_STOP_SECONDS, _PATIENCE_SECONDS = 5.0, 60.0


def run_worker(ws: Workspace, for_server: bool, kinds: Sequence[str] = tuple(KINDS), once: bool = False) -> NoReturn:
    """Run jobs until told to stop, then end the process.

    Parameters
    ----------
    for_server : bool
        Standard input ends with the server that started it, and so does this process: at once where the server is
        gone, since nobody would end it later, and jobs go on from what the tables say. Standard output takes what the
        server shows: one line of JSON for each sign of life. Otherwise a person started it and ends it with a signal;
        a second one ends it at once.
    kinds : sequence of str
        Of `KINDS`: what it does.
    once : bool
        End when nothing is left to do.
    """
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and not for_server:
            # Twice: what is in hand is resumed from what the tables say.
            _end_now()
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    # Ctrl-C in a terminal reaches both: the server then says what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN if for_server else asked)
    # A row every some seconds is nothing for a server's database, and wears a laptop's disk for nobody's sake.
    signs = not for_server or sqlite_file(ws.settings.url) is None
    runner = JobRunner(ws, kinds, signs, _STOP_SECONDS if for_server else _PATIENCE_SECONDS)
    if for_server:
        said = _own_channel()
        threading.Thread(target=_listen, args=(stop,), name="listen", daemon=True).start()
        threading.Thread(target=_say, args=(said, runner, stop), name="say", daemon=True).start()
    runner.start()
    while not stop.wait(_IDLE_SECONDS if once else None):
        if not has_more(runner):
            break
    runner.stop()
    # Not by way of the interpreter's end: that waits for a thread in the middle of an hour's work.
    sys.stderr.flush()
    os._exit(0)


def has_more(runner: JobRunner) -> bool:
    """Whether something is in hand or could be taken at once; so it is where the database cannot say it just now."""
    try:
        return runner.is_busy
    except Exception as error:
        if may_pass(error) is None:
            raise
        log.warning("whether anything is left to do cannot be read: %s", error)
        return True


def _own_channel() -> IO[str]:
    """Standard output for the server alone: whatever else writes there goes to standard error from now on."""
    sys.stdout.flush()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return channel


def _listen(stop: threading.Event) -> None:
    # Not through Python's buffer: the interpreter cannot end while another thread holds its lock.
    with contextlib.suppress(OSError):
        while said := os.read(0, 100):
            if STOP in said:
                stop.set()
                return
    _end_now()


def _say(said: IO[str], runner: JobRunner, stop: threading.Event) -> None:
    last, since = "", SIGN_SECONDS
    while True:
        known = {"waiting": dict(runner.unwritten.waiting), "trouble": runner.unwritten.trouble}
        line = json.dumps({"process": this_process(), **known})
        if line != last or since >= SIGN_SECONDS:
            try:
                said.write(f"{line}\n")
            except OSError:
                _end_now()
            last, since = line, 0.0
        stop.wait(_LOOK_SECONDS)
        since += _LOOK_SECONDS


def _end_now() -> NoReturn:
    """As a power cut would: nobody listens any more, and a thread may be in the middle of an hour's work."""
    os._exit(1)
