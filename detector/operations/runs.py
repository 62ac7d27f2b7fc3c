"""Runs of invokes: begun, stopped, deleted, and pictures of theirs put among the samples."""

from __future__ import annotations

from collections.abc import Sequence

from detector.errors import InvalidInput, NoModel
from detector.formatting import count
from detector.importing.labelling import LabelPlan
from detector.importing.pending import Pending
from detector.importing.run_files import keep_run_files, remove_run_files
from detector.jobs import IMPORT, INVOKE, request_import, request_run
from detector.operations.outcome import Outcome
from detector.serving.model import what_is_missing
from detector.storage import functions, invoke_runs, jobs
from detector.storage.room import require_room
from detector.workspace import Workspace

#: Why a run ended that somebody stopped.
STOPPED = "It was stopped before its end."


def start_run(ws: Workspace, function_id: str, pending: Pending) -> str:
    """Have files judged in the background by the live model; returns the run's id.

    An upload of the spool is the run's from now on.

    Raises
    ------
    NoModel, NotFound, TooLittleRoom
    """
    require_room(ws.settings)
    model_id = functions.get_function(ws.db, function_id).live_model_id
    if model_id is None:
        raise NoModel(what_is_missing(ws, function_id))
    run_id = invoke_runs.create_run(ws.db, function_id, pending.title, model_id)
    try:
        keep_run_files(ws, run_id, pending.source)
        request_run(ws, function_id, run_id)
    except BaseException:
        remove_run_files(ws, run_id=run_id)
        invoke_runs.delete_run(ws.db, run_id)
        raise
    return run_id


def stop_run(ws: Workspace, run_id: str) -> None:
    """Judge no further pictures of a run; those that are judged stay."""
    # First the run: whoever is at work then writes no picture more.
    invoke_runs.finish_run(ws.db, run_id, "failed", STOPPED)
    _cancel(ws, run_id)


def delete_run(ws: Workspace, run_id: str) -> None:
    """Remove a run with its files and what was found of them.

    Raises
    ------
    InvalidInput
        Some of its pictures are on their way to the samples.
    """
    if any(job.kind == IMPORT for job in _jobs(ws, run_id)):
        raise InvalidInput(
            "These pictures cannot be deleted yet: some are being added to the samples. Try again when that is done."
        )
    invoke_runs.delete_run(ws.db, run_id)
    _cancel(ws, run_id)
    remove_run_files(ws, run_id=run_id)


def add_run_to_samples(ws: Workspace, run_id: str, positions: Sequence[int]) -> Outcome:
    """Ask for pictures of a run to become samples without a label, in the background; a build follows.

    Raises
    ------
    NotFound, InvalidInput
        There is no such run; no picture was named.
    """
    if not positions:
        raise InvalidInput("No picture is chosen. Tick some first.")
    run = invoke_runs.get_run(ws.db, run_id)
    payload = {
        "from": "run",
        "run": run_id,
        "positions": sorted(positions),
        "title": f"From Invoke: {run.title}",
        "plan": LabelPlan("none").to_json(),
    }
    request_import(ws, run.function_id, payload, "invoke")
    return Outcome(
        len(positions),
        f"{count(len(positions), 'picture is', 'pictures are')} being added to the samples, without a label. The "
        "Import page says what became of each.",
    )


def _cancel(ws: Workspace, run_id: str) -> None:
    for job in _jobs(ws, run_id):
        if job.kind == INVOKE:
            jobs.finish(ws.db, job.id, "cancelled", STOPPED)


def _jobs(ws: Workspace, run_id: str) -> list[jobs.Job]:
    return [job for job in jobs.list_jobs(ws.db, limit=1_000_000) if job.payload.get("run") == run_id]
