"""Who runs the work in the background: imports, builds and audits, one at a time each, resumed after a kill."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from detector.errors import DetectorError, JobCancelled, MadeAgain, NotFound, StorageFull
from detector.importing.batch import run_import
from detector.importing.spool import spooled, sweep_spool, sweep_temporary
from detector.jobs import (
    BUILD,
    EVALUATE,
    IMPORT,
    SUPERSEDED,
    Unwritten,
    is_preparation,
    keep_unwritten,
    request_audit,
    request_build,
)
from detector.progress import Report, silent
from detector.storage import functions, imports, jobs
from detector.storage.database import now
from detector.storage.jobs import Job
from detector.storage.trouble import may_pass, once_more, storage_trouble
from detector.system.priority import give_way
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.pipeline.build import BuildResult

log = logging.getLogger(__name__)

#: Imports and builds run beside each other, so that a long embedding does not keep an upload waiting.
LANES = ((IMPORT,), (BUILD,))
#: Audits have a lane of their own, in which each waits whenever there is something to import or to build.
BACKGROUND_LANES = (*LANES, (EVALUATE,))

_POLL_SECONDS = 0.5
_GIVE_WAY_SECONDS = 1.0
_WATCH_SECONDS = 1.0
_ORPHAN_SECONDS = 15.0
_ALIVE_SECONDS = 30.0
_SWEEP_SECONDS = 3600.0

#: Pauses of a job that the machine could not carry out, as on a full disk, one after the other; the last one stays.
PAUSES = (2.0, 5.0, 10.0, 20.0)
#: Before that, within one attempt: much passes in a moment, as one failed flush of the disk.
_MOMENTS = (0.2, 1.0)

_UNEXPECTED = "Something unexpected went wrong; the server's log has the details. Nothing imported is lost."


def run_job(ws: Workspace, job: Job, report: Report = silent, patient: bool = False) -> BuildResult | None:
    """Run one claimed job to its end and write down how it ended.

    What may pass in a moment is tried again here: every job goes on from what the tables say, and doing it twice does
    nothing twice.

    Parameters
    ----------
    patient : bool
        Where the machine could not carry it out for a reason that may pass, leave the row as it is: the caller puts
        the job off. Otherwise it has failed, as for somebody who waits at the command line.

    Raises
    ------
    JobCancelled
        The job was cancelled or its function deleted.
    StorageTrouble
        Something could not be stored or read.
    DetectorError
        The job failed for a reason that has a sentence; the job's row has it too.
    """

    def both(phase: str, done: int, total: int, message: str, rate: float | None) -> None:
        jobs.report(ws.db, job.id, phase, done, total, message, rate)
        report(phase, done, total, message, rate)

    try:
        result = once_more(lambda: _work(ws, job, both), _MOMENTS)
    except JobCancelled as error:
        _end(ws, job, "cancelled", str(error))
        raise
    except Exception as error:
        trouble = storage_trouble(error)
        if patient and may_pass(error) is not None:
            raise trouble or error from error
        try:
            _end_badly(ws, job, trouble or error)
        except JobCancelled:
            raise
        except Exception as unwritten:
            if trouble is None or storage_trouble(unwritten) is None:
                raise
            # What could not be stored cannot be noted either; the row is taken back by whoever looks for orphans.
            log.warning("how a job ended could not be written: %s", unwritten)
        if trouble is not None:
            raise trouble from error
        raise
    # Not above: work that is done did not fail, even where that cannot be written.
    _end(ws, job, "done")
    return result


def run_pending(ws: Workspace, function_id: str, report: Report = silent) -> BuildResult | None:
    """Run a function's queued imports and builds here and now; returns the last build's result.

    Audits stay in the queue for a server, or for ``audit``: whoever waits for a model does not wait for them.
    """
    result = None
    for lane in LANES:
        while job := once_more(partial(jobs.claim, ws.db, lane, function_id, ignore_delay=True), _MOMENTS):
            result = run_job(ws, job, report) or result
    return result


@dataclass
class _Waiting:
    """A job that the machine could not carry out, until its row says so."""

    sentence: str
    until: float


class JobRunner:
    """Threads that run queued jobs until they are told to stop. One per process, started by the app's lifespan."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._stop = threading.Event()
        # Held while a job is taken or taken back, so that nobody takes for an orphan what was taken just now.
        self._taking = threading.Lock()
        self._running: set[str] = set()
        self._waiting: dict[str, _Waiting] = {}
        self._attempts: dict[str, int] = {}
        self._unwritten = Unwritten()
        self._complained = ""
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"jobs-{lane[0]}", daemon=True)
            for lane in BACKGROUND_LANES
        ]
        self._threads.append(threading.Thread(target=self._watch, name="jobs-watch", daemon=True))

    def start(self) -> None:
        """Take back what a dead process left behind, then run."""
        try:
            jobs.requeue_orphans(self._ws.db)
            sweep_spool(self._ws)
        except Exception as error:
            # A full disk must not keep the pages from being shown; it is done again later.
            self._complain(error)
        keep_unwritten(self._ws, self._unwritten)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end and wait a little; a job in the middle is resumed at the next start."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)
        keep_unwritten(self._ws, None)

    def _run(self, lane: tuple[str, ...]) -> None:
        give_way()
        while not self._stop.is_set():
            try:
                with self._taking:
                    job = jobs.claim(self._ws.db, lane)
                    if job is not None:
                        self._running.add(job.id)
            except Exception as error:
                self._complain(error)
                self._unwritten.trouble = str(trouble) if (trouble := may_pass(error)) is not None else None
                self._stop.wait(_POLL_SECONDS)
                continue
            self._unwritten.trouble = None
            if job is None:
                self._stop.wait(_POLL_SECONDS)
                continue
            # The lane must outlive any single job.
            try:
                run_job(self._ws, job, self._interrupt, patient=True)
            except _Stopping:
                with contextlib.suppress(Exception):
                    jobs.requeue(self._ws.db, job.id)
                return
            except Exception as error:
                if may_pass(error) is not None:
                    self._put_off(job, error)
                    continue
                if isinstance(error, DetectorError):
                    log.info("job ended: %s", error)
                else:
                    log.exception("job failed")
                    self._stop.wait(_POLL_SECONDS)
            self._attempts.pop(job.id, None)
            self._running.discard(job.id)

    def _put_off(self, job: Job, error: Exception) -> None:
        attempt = self._attempts.get(job.id, 0)
        self._attempts[job.id] = attempt + 1
        pause = PAUSES[min(attempt, len(PAUSES) - 1)]
        trouble = may_pass(error)
        sentence = (
            str(trouble) if isinstance(trouble, StorageFull) else f"{trouble} This work is tried again by itself."
        )
        if attempt == 0:
            log.warning("a job waits: %s", error)
        self._waiting[job.id] = _Waiting(sentence, time.monotonic() + pause)
        self._unwritten.waiting[job.id] = sentence
        self._write_what_waits()

    def _watch(self) -> None:
        """What must be done even while every lane has work for hours."""
        give_way()
        last = dict.fromkeys(("orphans", "alive", "sweep"), time.monotonic())
        last["sweep"] -= _SWEEP_SECONDS

        def is_time(what: str, seconds: float) -> bool:
            moment = time.monotonic()
            if moment - last[what] < seconds:
                return False
            last[what] = moment
            return True

        while not self._stop.wait(_WATCH_SECONDS):
            try:
                self._write_what_waits()
                self._unwritten.ask_again(self._ws)
                if is_time("alive", _ALIVE_SECONDS) and self._running:
                    jobs.say_alive(self._ws.db)
                if is_time("orphans", _ORPHAN_SECONDS):
                    with self._taking:
                        jobs.requeue_orphans(self._ws.db, self._running)
                if is_time("sweep", _SWEEP_SECONDS):
                    sweep_spool(self._ws)
                    sweep_temporary(self._ws)
            except Exception as error:
                self._complain(error)

    def _write_what_waits(self) -> None:
        for job_id, waiting in list(self._waiting.items()):
            try:
                jobs.put_off(self._ws.db, job_id, waiting.sentence, max(waiting.until - time.monotonic(), 0.0))
            except Exception as error:
                self._complain(error)
                return
            # Only now: until its row says that it waits, nobody may take it for an orphan.
            with self._taking:
                self._running.discard(job_id)
                self._waiting.pop(job_id, None)
                self._unwritten.waiting.pop(job_id, None)

    def _complain(self, error: Exception) -> None:
        """Into the log, once for as long as it is the same: it may itself lie on the disk that is full."""
        trouble = may_pass(error)
        if trouble is None:
            log.error("the queue of jobs cannot be read or written", exc_info=error)
        elif str(trouble) != self._complained:
            log.warning("the queue of jobs cannot be read or written: %s", error)
        self._complained = str(trouble)

    def _interrupt(self, *_progress: object) -> None:
        if self._stop.is_set():
            raise _Stopping


class _Stopping(BaseException):
    """The server is stopping: leave the job as it is, to be resumed."""


def _work(ws: Workspace, job: Job, report: Report) -> BuildResult | None:
    if job.kind == IMPORT:
        _run_import_job(ws, job, report)
        return None
    if job.kind == EVALUATE:
        _run_audit_job(ws, job, report)
        return None
    return _run_build_job(ws, job, report)


def _end_badly(ws: Workspace, job: Job, error: Exception) -> None:
    """Write down that a job failed, and why. Raises JobCancelled where its function is gone."""
    if functions.find_live(ws.db, job.function_id) is None:
        # Whatever it stumbled over, this is the reason.
        sentence = "The function was deleted while the job ran."
        _end(ws, job, "cancelled", sentence)
        raise JobCancelled(sentence) from error
    if isinstance(error, MadeAgain) and job.kind == EVALUATE:
        request_build(ws, job.function_id)
    sentence = str(error) if isinstance(error, DetectorError) else _UNEXPECTED
    _note_failure(ws, job, sentence)
    _end(ws, job, "failed", sentence)


def _run_import_job(ws: Workspace, job: Job, report: Report) -> None:
    batch_id = job.payload["batch"]
    looked = run_import(ws, job.function_id, batch_id, job.payload, report)
    imports.finish_batch(ws.db, batch_id, "done", looked)
    request_build(ws, job.function_id)


def _run_build_job(ws: Workspace, job: Job, report: Report) -> BuildResult | None:
    # Here, not above: it brings torch and scikit-learn, which a server that shows pages does not need yet.
    from detector.pipeline.build import build
    from detector.pipeline.embedding import embed_missing, function_backbone

    if is_preparation(job):
        backbone = function_backbone(ws, functions.get_function(ws.db, job.function_id), report)
        embed_missing(ws, job.function_id, backbone, report)
        return None
    result = build(ws, job.function_id, report)
    if result.trained and result.model is not None:
        request_audit(ws, job.function_id, result.model.id)
    return result


def _run_audit_job(ws: Workspace, job: Job, report: Report) -> None:
    from detector.evaluation.audit import audit

    def giving_way(phase: str, done: int, total: int, message: str, rate: float | None) -> None:
        report(phase, done, total, message, rate)
        _stop_if_superseded(ws, job)
        while _something_else_to_do(ws):
            time.sleep(_GIVE_WAY_SECONDS)
            report(phase, done, total, f"{message} (waiting until other work is done)", None)
            _stop_if_superseded(ws, job)

    _stop_if_superseded(ws, job)
    audit(ws, job.function_id, giving_way)


def _stop_if_superseded(ws: Workspace, job: Job) -> None:
    live = functions.find_live(ws.db, job.function_id)
    if live is not None and live[0] != job.payload["model"]:
        raise JobCancelled(SUPERSEDED)


def _something_else_to_do(ws: Workspace) -> bool:
    moment = now()
    return any(
        job.kind != EVALUATE and (job.state == "running" or job.run_after <= moment)
        for job in jobs.list_jobs(ws.db, limit=100)
    )


def _note_failure(ws: Workspace, job: Job, sentence: str) -> None:
    if job.kind == IMPORT:
        imports.finish_batch(ws.db, job.payload["batch"], "failed", 0, sentence)
        # What came in before the failure is there to be used.
        request_build(ws, job.function_id)
    elif job.kind == BUILD:
        with contextlib.suppress(NotFound):
            functions.set_training_note(ws.db, job.function_id, sentence)


def _end(ws: Workspace, job: Job, state: str, sentence: str = "") -> None:
    if job.kind == IMPORT and state == "cancelled":
        imports.finish_batch(ws.db, job.payload["batch"], "failed", 0, sentence)
    once_more(lambda: jobs.finish(ws.db, job.id, state, sentence), _MOMENTS)
    # After the row, never before: a job that is killed in between is run again and needs its archive.
    if job.kind == IMPORT:
        for path in spooled(ws, job.payload):
            path.unlink(missing_ok=True)
