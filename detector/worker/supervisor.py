"""Who keeps the background process of a server alive: started, listened to, started again when it dies or hangs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from typing import IO, Protocol

from detector.formatting import count
from detector.jobs import Unwritten, keep_unwritten
from detector.settings import CHECKOUT
from detector.storage import jobs
from detector.storage.trouble import may_pass
from detector.storage.workers import live_workers
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: What is written to the process in an orderly end. The end of the stream alone means that this server was killed.
STOP = b"stop\n"
#: Without a sign of life for so long it counts as hanging.
SILENT_SECONDS = 60.0
#: Before it is started again, after the first death and those that follow soon; the last one stays.
PAUSES = (0.5, 2.0, 5.0, 15.0, 60.0)
#: Whoever lived so long did not die of its start.
_LONG_LIFE = 300.0
#: An orderly end: what is in hand stops at its next word of progress.
_STOP_SECONDS = 8.0
_LOOK_SECONDS = 0.5
_ASK_SECONDS = 1.0
#: What needs the files that came to this very machine, by the words of the command line.
_WITH_FILES = ("--kinds", "import,invoke")


class Background(Protocol):
    """Whatever carries a server's jobs."""

    def start(self) -> None: ...
    def stop(self) -> None: ...

    def wrong(self) -> str:
        """Why no jobs are run now, in words for anybody; empty where they are."""
        ...


def _own_package() -> dict[str, str]:
    """Have the process find this package, wherever the server was started, and no other of its name there."""
    paths = filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH")))
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def background(ws: Workspace) -> Background:
    """What the settings say: a process of its own, or threads of this one."""
    if ws.settings.worker == "inside":
        # Here, not above: a server whose jobs run elsewhere has no need of their modules.
        from detector.worker.runner import JobRunner

        return JobRunner(ws)
    if ws.settings.worker == "none":
        return Elsewhere(ws)
    return Supervisor(ws)


class Elsewhere:
    """No worker of this server's own: others, started by hand, do what it asks for.

    Only what could not be put into the queue is kept here, and put there later.
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._unwritten = Unwritten()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="ask-again", daemon=True)

    def start(self) -> None:
        keep_unwritten(self._ws, self._unwritten)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)
        keep_unwritten(self._ws, None)

    def wrong(self) -> str:
        return "" if live_workers(self._ws.db) else "no worker has given a sign of life"

    def _ask(self) -> None:
        while not self._stop.wait(_ASK_SECONDS):
            try:
                self._unwritten.ask_again(self._ws)
            except Exception as error:
                if may_pass(error) is None:
                    log.exception("a build could not be asked for")


class Supervisor:
    """One background process at a time, of a server that lives longer than it.

    Jobs that it died or hung with are queued again, and counted: see `detector.worker.running.MOST_CRASHES`.
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._unwritten = Unwritten()
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="worker-keeper", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._name = ""
        self._sign = 0.0

    def start(self) -> None:
        """Return at once; the process comes up beside the first pages."""
        keep_unwritten(self._ws, self._unwritten)
        self._keeper.start()

    def stop(self) -> None:
        """End the process, by force where it does not end within some seconds: its job is resumed at the next start."""
        self._stop.set()
        self._keeper.join(_STOP_SECONDS + 5)
        keep_unwritten(self._ws, None)

    def wrong(self) -> str:
        if not self._name:
            return "the background process is starting"
        silent = time.monotonic() - self._sign
        return "" if silent < SILENT_SECONDS else f"the background process was silent for {silent:.0f} s"

    def _keep(self) -> None:
        deaths = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                how = self._live()
            except Exception:
                # No memory for another process, no more process numbers: that may pass.
                log.exception("the background process could not be started")
                how = "could not be started"
            if self._stop.is_set():
                return
            deaths = 1 if time.monotonic() - began >= _LONG_LIFE else deaths + 1
            pause = PAUSES[min(deaths, len(PAUSES)) - 1]
            log.error("the background process %s; it is started again in %.1f s", how, pause)
            self._unwritten.waiting = {}
            self._unwritten.trouble = (
                None
                if deaths == 1
                else f"The background process stopped unexpectedly {count(deaths, 'time')} in a row. It is started "
                "again by itself; the server's log says more."
            )
            self._count_the_death()
            self._stop.wait(pause)

    def _live(self) -> str:
        """One process from its start to its end; returns how it ended."""
        self._name, self._sign = "", time.monotonic()
        kinds = _WITH_FILES if self._ws.settings.worker == "imports" else ()
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "detector", "worker", "--for-server", *kinds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        listener = threading.Thread(target=self._listen, args=(process.stdout,), name="worker-listener", daemon=True)
        listener.start()
        how = ""
        while process.poll() is None and not how and not self._stop.wait(_LOOK_SECONDS):
            self._ask_again()
            if time.monotonic() - self._sign > SILENT_SECONDS:
                how = f"gave no sign of life for {SILENT_SECONDS:.0f} s and was ended"
        # Before it has said anything it has nothing in hand.
        if self._name and not how and process.poll() is None:
            with contextlib.suppress(OSError):
                process.stdin.write(STOP)
                process.stdin.flush()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
        process.kill()
        process.wait()
        listener.join(5)
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        return how or f"ended (exit code {process.returncode})"

    def _listen(self, said: IO[bytes]) -> None:
        for line in said:
            try:
                known = json.loads(line)
                name, waiting, trouble = known["process"], known["waiting"], known["trouble"]
            except (ValueError, KeyError, TypeError):
                continue
            self._name, self._sign = name, time.monotonic()
            self._unwritten.waiting, self._unwritten.trouble = waiting, trouble

    def _ask_again(self) -> None:
        try:
            self._unwritten.ask_again(self._ws)
        except Exception as error:
            if may_pass(error) is None:
                log.exception("a build could not be asked for")

    def _count_the_death(self) -> None:
        if not self._name:
            return
        try:
            jobs.requeue_crashed(self._ws.db, self._name)
        except Exception as error:
            # The next one finds that nobody runs them; only the count is lost.
            log.warning("what the background process had in hand could not be queued again: %s", error)
