"""A job from its claim to its end: imports, builds and audits, and how each ends in the table."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from detector.errors import DetectorError, JobCancelled, JobGivenUp, JobTakenOver, MadeAgain, NotFound
from detector.importing.batch import run_import
from detector.importing.spool import spooled
from detector.jobs import (
    BUILD,
    COPIES,
    EVALUATE,
    IMPORT,
    IN_THE_BACKGROUND,
    INVOKE,
    SUPERSEDED,
    is_preparation,
    request_audit,
    request_build,
    request_copies,
)
from detector.progress import Report, silent
from detector.storage import functions, imports, invoke_runs, jobs
from detector.storage.database import now
from detector.storage.held import holding
from detector.storage.jobs import Job
from detector.storage.room import require_room
from detector.storage.trouble import may_pass, once_more, storage_trouble
from detector.storage.workers import TASKS
from detector.system.logs import in_job
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.pipeline.build import BuildResult

log = logging.getLogger(__name__)

#: Imports and builds run beside each other, so that a long embedding does not keep an upload waiting.
LANES = ((IMPORT,), (BUILD,))
#: Many pictures to be judged wait for no training and keep no upload waiting. What nobody waits for has a lane of its
#: own, in which it waits whenever there is something else to do.
BACKGROUND_LANES = (*LANES, (INVOKE,), IN_THE_BACKGROUND)

#: What a worker can be told to do, by the words of the command line; each a lane of its own.
KINDS = {"import": (IMPORT,), "build": (BUILD,), "invoke": (INVOKE,), "audit": IN_THE_BACKGROUND, TASKS: (TASKS,)}

#: So often a job is tried again whose process died or hung with it; then it has failed.
MOST_CRASHES = 3

#: What does not begin while the disk has little room: it waits, as on a full disk.
_ADDS_PICTURES = (IMPORT, COPIES, INVOKE)

#: How often jobs get a sign of life; see `jobs.STALE_SECONDS`.
ALIVE_SECONDS = 10.0

_GIVE_WAY_SECONDS = 1.0

#: Before a job is put off, within one attempt: much passes in a moment, as one failed flush of the disk.
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
    JobTakenOver
        Another process runs it now.
    StorageTrouble
        Something could not be stored or read.
    DetectorError
        The job failed for a reason that has a sentence; the job's row has it too.
    """

    def both(phase: str, done: int, total: int, message: str, rate: float | None) -> None:
        jobs.report(ws.db, job.id, phase, done, total, message, rate, job.lease)
        report(phase, done, total, message, rate)

    with in_job(job.id):
        return _run_job(ws, job, both, patient)


def _run_job(ws: Workspace, job: Job, both: Report, patient: bool) -> BuildResult | None:
    try:
        if patient and job.kind in _ADDS_PICTURES:
            # Whoever waits at the command line asked for it while there was room.
            require_room(ws.settings)
        with holding(ws.db, job.id, job.lease):
            result = once_more(lambda: _work(ws, job, both), _MOMENTS)
    except JobTakenOver:
        raise
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
    with _saying_alive(ws):
        for lane in LANES:
            while job := once_more(partial(jobs.claim, ws.db, lane, function_id, ignore_delay=True), _MOMENTS):
                result = run_job(ws, job, report) or result
    return result


@contextlib.contextmanager
def _saying_alive(ws: Workspace) -> Iterator[None]:
    """Give the jobs of this process a sign of life in between, as the watch of a `JobRunner` does.

    A worker of another machine would else take this process for dead while it loads a network or trains.
    """
    ended = threading.Event()

    def say() -> None:
        while not ended.wait(ALIVE_SECONDS):
            try:
                jobs.say_alive(ws.db)
            except Exception as error:
                log.warning("no sign of life could be written: %s", error)

    thread = threading.Thread(target=say, name="jobs-alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _work(ws: Workspace, job: Job, report: Report) -> BuildResult | None:
    if job.crashes > MOST_CRASHES:
        raise JobGivenUp(job.crashes)
    if job.kind == IMPORT:
        _run_import_job(ws, job, report)
        return None
    if job.kind == EVALUATE:
        _run_audit_job(ws, job, report)
        return None
    if job.kind == COPIES:
        _run_copies_job(ws, job, report)
        return None
    if job.kind == INVOKE:
        _judge_run_job(ws, job, report)
        return None
    return _run_build_job(ws, job, report)


def _end_badly(ws: Workspace, job: Job, error: Exception) -> None:
    """Write down that a job failed, and why. Raises JobCancelled where its function is gone."""
    if functions.find_live(ws.db, job.function_id) is None:
        # Whatever it stumbled over, this is the reason.
        sentence = "The function was deleted while the job ran."
        _end(ws, job, "cancelled", sentence)
        raise JobCancelled(sentence) from error
    sentence = str(error) if isinstance(error, DetectorError) else _UNEXPECTED
    try:
        with holding(ws.db, job.id, job.lease):
            _note_failure(ws, job, sentence, isinstance(error, MadeAgain))
    except JobTakenOver:
        raise
    except JobCancelled as cancelled:
        _end(ws, job, "cancelled", str(cancelled))
        raise
    _end(ws, job, "failed", sentence)


def _run_import_job(ws: Workspace, job: Job, report: Report) -> None:
    batch_id = job.payload["batch"]
    looked = run_import(ws, job.function_id, batch_id, job.payload, report)
    imports.finish_batch(ws.db, batch_id, "done", looked)
    request_build(ws, job.function_id)


def _judge_run_job(ws: Workspace, job: Job, report: Report) -> None:
    from detector.evidence.judge_run import judge_run

    judge_run(ws, job.payload["run"], report)
    invoke_runs.finish_run(ws.db, job.payload["run"], "done")


def _run_build_job(ws: Workspace, job: Job, report: Report) -> BuildResult | None:
    # Here, not above: it brings torch and scikit-learn, which a server that shows pages does not need yet.
    from detector.pipeline.build import build
    from detector.pipeline.copies import lacks_copies
    from detector.pipeline.embedding import embed_missing, function_backbone

    if is_preparation(job):
        backbone = function_backbone(ws, functions.get_function(ws.db, job.function_id), report)
        embed_missing(ws, job.function_id, backbone, report)
        return None
    result = build(ws, job.function_id, report)
    if result.model is not None and lacks_copies(ws, job.function_id, result.model):
        # First, not after the audit: the model that comes of them is the one to be audited.
        request_copies(ws, job.function_id)
    elif result.trained and result.model is not None:
        request_audit(ws, job.function_id, result.model.id)
    return result


def _run_copies_job(ws: Workspace, job: Job, report: Report) -> None:
    from detector.pipeline.copies import FEW_LACKING, embed_copies, lacking_share
    from detector.pipeline.embedding import function_backbone

    function = functions.get_function(ws.db, job.function_id)
    backbone = function_backbone(ws, function, report)
    share = lacking_share(ws, job.function_id, backbone.key)
    made = embed_copies(ws, job.function_id, backbone, _giving_way(ws, report, lambda: None))
    live = functions.get_function(ws.db, job.function_id).live_model_id
    if made and share > FEW_LACKING:
        request_build(ws, job.function_id)
    elif live is not None:
        request_audit(ws, job.function_id, live)


def _run_audit_job(ws: Workspace, job: Job, report: Report) -> None:
    from detector.evaluation.audit import audit

    _stop_if_superseded(ws, job)
    audit(ws, job.function_id, _giving_way(ws, report, lambda: _stop_if_superseded(ws, job)))


def _giving_way(ws: Workspace, report: Report, check: Callable[[], None]) -> Report:
    """A report that waits as long as there is something to import or to build; ``check`` may raise to stop."""

    def reported(phase: str, done: int, total: int, message: str, rate: float | None) -> None:
        report(phase, done, total, message, rate)
        check()
        while _something_else_to_do(ws):
            time.sleep(_GIVE_WAY_SECONDS)
            report(phase, done, total, f"{message} (waiting until other work is done)", None)
            check()

    return reported


def _stop_if_superseded(ws: Workspace, job: Job) -> None:
    live = functions.find_live(ws.db, job.function_id)
    if live is not None and live[0] != job.payload["model"]:
        raise JobCancelled(SUPERSEDED)


def _something_else_to_do(ws: Workspace) -> bool:
    moment = now()
    return any(
        job.kind not in IN_THE_BACKGROUND and (job.state == "running" or job.run_after <= moment)
        for job in jobs.list_jobs(ws.db, limit=100)
    )


def _note_failure(ws: Workspace, job: Job, sentence: str, made_again: bool = False) -> None:
    if made_again and job.kind == EVALUATE:
        request_build(ws, job.function_id)
    if job.kind == IMPORT:
        imports.finish_batch(ws.db, job.payload["batch"], "failed", 0, sentence)
        # What came in before the failure is there to be used.
        request_build(ws, job.function_id)
    elif job.kind == BUILD:
        with contextlib.suppress(NotFound):
            functions.set_training_note(ws.db, job.function_id, sentence)
    elif job.kind == INVOKE:
        invoke_runs.finish_run(ws.db, job.payload["run"], "failed", sentence)


def _end(ws: Workspace, job: Job, state: str, sentence: str = "") -> None:
    if job.kind == IMPORT and state == "cancelled":
        imports.finish_batch(ws.db, job.payload["batch"], "failed", 0, sentence)
    elif job.kind == INVOKE and state == "cancelled":
        invoke_runs.finish_run(ws.db, job.payload["run"], "failed", sentence)
    once_more(lambda: jobs.finish(ws.db, job.id, state, sentence, job.lease), _MOMENTS)
    # After the row, never before: a job that is killed in between is run again and needs its archive.
    if job.kind == IMPORT:
        for path in spooled(ws, job.payload):
            path.unlink(missing_ok=True)
