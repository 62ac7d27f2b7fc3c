"""What runs in the background: imports, builds and audits, one at a time each, resumed after a kill."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from detector.errors import DetectorError, JobCancelled, NotFound
from detector.importing.batch import run_import
from detector.importing.spool import spooled, sweep_spool
from detector.priority import give_way
from detector.progress import Report, silent
from detector.storage import functions, imports, jobs
from detector.storage.database import now
from detector.storage.jobs import Job
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.build import BuildResult

log = logging.getLogger(__name__)

IMPORT, BUILD, EVALUATE = "import", "build", "evaluate"

#: Imports and builds run beside each other, so that a long embedding does not keep an upload waiting.
LANES = ((IMPORT,), (BUILD,))
#: Audits have a lane of their own, in which each waits whenever there is something to import or to build.
BACKGROUND_LANES = (*LANES, (EVALUATE,))

#: Payload of a build that ends after the embedding.
_ONLY_EMBED = {"only": "embed"}
#: How long posted samples gather before they are embedded together.
_GATHER_SECONDS = 2.0

_POLL_SECONDS = 0.5
_GIVE_WAY_SECONDS = 1.0
_ORPHAN_SECONDS = 15.0

_SUPERSEDED = "A newer model took its place."
_UNEXPECTED = "Something unexpected went wrong; the server's log has the details. Nothing imported is lost."


def request_build(ws: Workspace, function_id: str, delay: float = 0.0) -> str:
    """Ask for a build; requests that come before it starts are one build. Returns the job's id."""
    return jobs.enqueue(ws.db, function_id, BUILD, {}, delay)


def request_import(ws: Workspace, function_id: str, payload: dict[str, Any], origin: str) -> tuple[str, str]:
    """Open an import batch and queue its job; returns (batch id, job id)."""
    batch_id = imports.create_batch(ws.db, function_id, origin, payload["title"])
    return batch_id, jobs.enqueue(ws.db, function_id, IMPORT, {**payload, "batch": batch_id})


def annotated(ws: Workspace, function_id: str) -> None:
    """Say that labels were changed by hand: a build follows after the pause of the settings."""
    request_build(ws, function_id, ws.settings.retrain_delay)


def request_audit(ws: Workspace, function_id: str, model_id: str) -> str:
    """Ask for the audit of a model; those of its older versions that still wait are not needed any more."""
    for job in jobs.list_jobs(ws.db, function_id):
        if job.kind == EVALUATE and job.state == "queued" and job.payload != {"model": model_id}:
            jobs.finish(ws.db, job.id, "cancelled", _SUPERSEDED)
    return jobs.enqueue(ws.db, function_id, EVALUATE, {"model": model_id})


def posted(ws: Workspace, function_id: str) -> None:
    """Say that a sample came in by itself: embedding starts soon, the build when no more have come for a while.

    Embedding is not put off by the next sample, or a steady stream of them would leave all the work to its end.
    """
    jobs.enqueue(ws.db, function_id, BUILD, _ONLY_EMBED, _GATHER_SECONDS, postpone=False)
    request_build(ws, function_id, ws.settings.retrain_delay)


def is_preparation(job: Job) -> bool:
    """Whether a job only embeds what has come, before the build that was asked for along with it."""
    return job.payload == _ONLY_EMBED


def is_training(ws: Workspace, function_id: str) -> bool:
    """Whether work is queued or running after which the function may have another model or other predictions."""
    return any(job.kind != EVALUATE for job in jobs.list_jobs(ws.db, function_id))


def run_job(ws: Workspace, job: Job, report: Report = silent) -> BuildResult | None:
    """Run one claimed job to its end and write down how it ended.

    Raises
    ------
    JobCancelled
        The job was cancelled or its function deleted.
    DetectorError
        The job failed for a reason that has a sentence; the job's row has it too.
    """

    def both(phase: str, done: int, total: int, message: str, rate: float | None) -> None:
        jobs.report(ws.db, job.id, phase, done, total, message, rate)
        report(phase, done, total, message, rate)

    result = None
    try:
        if job.kind == IMPORT:
            _run_import_job(ws, job, both)
        elif job.kind == EVALUATE:
            _run_audit_job(ws, job, both)
        else:
            result = _run_build_job(ws, job, both)
    except JobCancelled as error:
        _end(ws, job, "cancelled", str(error))
        raise
    except Exception as error:
        if functions.find_live(ws.db, job.function_id) is None:
            # Whatever it stumbled over, this is the reason.
            sentence = "The function was deleted while the job ran."
            _end(ws, job, "cancelled", sentence)
            raise JobCancelled(sentence) from error
        sentence = str(error) if isinstance(error, DetectorError) else _UNEXPECTED
        _note_failure(ws, job, sentence)
        _end(ws, job, "failed", sentence)
        raise
    _end(ws, job, "done")
    return result


def run_pending(ws: Workspace, function_id: str, report: Report = silent) -> BuildResult | None:
    """Run a function's queued imports and builds here and now; returns the last build's result.

    Audits stay in the queue for a server, or for ``audit``: whoever waits for a model does not wait for them.
    """
    result = None
    for lane in LANES:
        while job := jobs.claim(ws.db, lane, function_id, ignore_delay=True):
            result = run_job(ws, job, report) or result
    return result


class JobRunner:
    """Threads that run queued jobs until they are told to stop. One per process, started by the app's lifespan."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"jobs-{lane[0]}", daemon=True)
            for lane in BACKGROUND_LANES
        ]

    def start(self) -> None:
        """Take back what a dead process left behind, then run."""
        jobs.requeue_orphans(self._ws.db)
        sweep_spool(self._ws)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end and wait a little; a job in the middle is resumed at the next start."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _run(self, lane: tuple[str, ...]) -> None:
        give_way()
        looked_for_orphans = time.monotonic()
        while not self._stop.is_set():
            job = None
            try:
                if time.monotonic() - looked_for_orphans > _ORPHAN_SECONDS:
                    jobs.requeue_orphans(self._ws.db)
                    looked_for_orphans = time.monotonic()
                job = jobs.claim(self._ws.db, lane)
                if job is None:
                    self._stop.wait(_POLL_SECONDS)
                    continue
                run_job(self._ws, job, self._interrupt)
            except DetectorError as error:
                log.info("job ended: %s", error)
            except _Stopping:
                if job is not None:
                    jobs.requeue(self._ws.db, job.id)
                return
            except Exception:
                # The lane must outlive any single job.
                log.exception("job failed")
                self._stop.wait(_POLL_SECONDS)

    def _interrupt(self, *_progress: object) -> None:
        if self._stop.is_set():
            raise _Stopping


class _Stopping(BaseException):
    """The server is stopping: leave the job as it is, to be resumed."""


def _run_import_job(ws: Workspace, job: Job, report: Report) -> None:
    batch_id = job.payload["batch"]
    looked = run_import(ws, job.function_id, batch_id, job.payload, report)
    imports.finish_batch(ws.db, batch_id, "done", looked)
    request_build(ws, job.function_id)


def _run_build_job(ws: Workspace, job: Job, report: Report) -> BuildResult | None:
    # Here, not above: it brings torch and scikit-learn, which a server that shows pages does not need yet.
    from detector.build import build
    from detector.embedding import embed_missing, function_backbone

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
        raise JobCancelled(_SUPERSEDED)


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
    jobs.finish(ws.db, job.id, state, sentence)
    # After the row, never before: a job that is killed in between is run again and needs its archive.
    if job.kind == IMPORT:
        for path in spooled(ws, job.payload):
            path.unlink(missing_ok=True)
