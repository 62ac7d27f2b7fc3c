"""Work that nobody does any more, and what it has left: imports, jobs, tasks, runs, half files, waiting uploads."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from sqlalchemy import Table, and_, exists, select

from detector.formatting import count
from detector.importing.run_files import sweep_runs
from detector.importing.spool import KEPT_SECONDS, SELECTION_ENDING, TABLE_ENDING, spooled, sweep_spool, sweep_temporary
from detector.jobs import BUILD, COPIES, EVALUATE, IMPORT, INVOKE, request_build
from detector.storage import imports, invoke_runs, jobs, tasks
from detector.storage.blobs import WANTED_SECONDS
from detector.storage.database import Database, now
from detector.storage.jobs import owner_lives
from detector.storage.schema import import_batches
from detector.storage.schema import invoke_runs as runs_table
from detector.storage.schema import jobs as jobs_table
from detector.storage.schema import tasks as tasks_table
from detector.upkeep.findings import FILES, IMPORTS, JOBS, TASKS, Check, run_repair, shown, some

_KINDS = (IMPORT, BUILD, EVALUATE, COPIES, INVOKE)
_ALL = 1_000_000
#: A server takes back what nobody runs after 15 seconds; an import's job comes a moment after its batch.
_PATIENCE = 2.0
#: What began so lately may still get its job.
_JUST_BEGUN = 60.0

#: What an import says whose work was lost.
_INTERRUPTED = (
    "It was interrupted, and nothing was going to continue it. What came in before is there; import the rest again."
)


def check_work(check: Check) -> None:
    """Look at all that should be done, or have ended."""
    check.report("work", 0, 0, "Looking at jobs and imports", None)
    _settle_jobs(check)
    _settle_batches(check)
    _settle_runs(check)
    _settle_tasks(check)
    _settle_files(check)


def _twice(ask: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What is so now and was so a little earlier."""
    before = ask()
    if not before:
        return {}
    time.sleep(_PATIENCE)
    after = ask()
    return {key: words for key, words in after.items() if key in before}


def _settle_jobs(check: Check) -> None:
    ws = check.ws

    def lifeless() -> dict[str, str]:
        running = (job for job in jobs.list_jobs(ws.db, limit=_ALL) if job.state == "running")
        return {job.id: job.kind for job in running if not owner_lives(job.id, job.owner, job.heartbeat)}

    found = _twice(lifeless)
    if found:
        what = (
            f"{count(len(found), 'job')} ({some(sorted(set(found.values())), len(set(found.values())))}) without life: "
        )
        what += "the process that ran it has ended."
        if check.repair:
            jobs.requeue_orphans(ws.db)
        done = (
            "Queued again; a server or worker goes on with it." if check.repair else f"A server goes on. {run_repair()}"
        )
        check.found(JOBS, f"{what} {done}", check.repair)
    unknown = {job.id: job.kind for job in jobs.list_jobs(ws.db, limit=_ALL) if job.kind not in _KINDS}
    for job_id, kind in unknown.items():
        what = f"A job of a kind that this program does not know ({shown(kind)}) waits for ever."
        if check.repair:
            jobs.finish(ws.db, job_id, "failed", "No worker knows this kind of work.")
        check.found(JOBS, f"{what} {'It was ended.' if check.repair else run_repair()}", check.repair)


def _without_job(db: Database, table: Table, payload_key: str) -> dict[str, str]:
    """The titles by id of what says that it runs, though no job names it."""
    with db.read() as connection:
        rows = connection.execute(
            select(table.c.id, table.c.title).where(
                table.c.state == "running", table.c.created_at < now() - _JUST_BEGUN
            )
        ).all()
    if not rows:
        return {}
    wanted = {str(job.payload.get(payload_key)) for job in jobs.list_jobs(db, limit=_ALL)}
    return {row.id: row.title for row in rows if row.id not in wanted}


def _settle_batches(check: Check) -> None:
    ws = check.ws

    for batch_id, title in _twice(partial(_without_job, ws.db, import_batches, "batch")).items():
        what = f"The import {shown(title)} was interrupted, and no job goes on with it."
        if check.repair:
            imports.finish_batch(ws.db, batch_id, "failed", 0, _INTERRUPTED)
            with ws.db.read() as connection:
                function_id = connection.scalar(
                    select(import_batches.c.function_id).where(import_batches.c.id == batch_id)
                )
            if function_id is not None:
                request_build(ws, function_id)
        done = "Its report says so now; import the rest again." if check.repair else run_repair()
        check.found(IMPORTS, f"{what} {done}", check.repair)


def _settle_runs(check: Check) -> None:
    ws = check.ws

    for run_id, title in _twice(partial(_without_job, ws.db, runs_table, "run")).items():
        what = f"The pictures {shown(title)} on the Invoke page are not being judged: no job goes on with them."
        if check.repair:
            invoke_runs.finish_run(ws.db, run_id, "failed", "It was interrupted. Give the pictures again.")
        done = "The page says so now." if check.repair else run_repair()
        check.found(JOBS, f"{what} {done}", check.repair)


def _settle_tasks(check: Check) -> None:
    ws = check.ws
    active = exists().where(
        and_(jobs_table.c.id == tasks_table.c.job_id, jobs_table.c.state.in_(("queued", "running")))
    )

    def without_job() -> dict[str, str]:
        with ws.db.read() as connection:
            return {
                row.id: row.work
                for row in connection.execute(select(tasks_table.c.id, tasks_table.c.work).where(~active))
            }

    found = _twice(without_job)
    if not found:
        return
    what = f"{count(len(found), 'piece')} of work ({some(sorted(set(found.values())), 1)}) whose job has ended."
    if check.repair:
        tasks.sweep_tasks(ws.db)
    check.found(TASKS, f"{what} {'Removed.' if check.repair else run_repair()}", check.repair)


def _settle_files(check: Check) -> None:
    ws, moment = check.ws, time.time()
    half = ws.blobs.stored.half_done(moment - WANTED_SECONDS)
    if half:
        what = f"{count(len(half), 'half-written file')} of processes that were killed ({some(half, len(half))})."
        if check.repair:
            sweep_temporary(ws, WANTED_SECONDS)
        check.found(FILES, f"{what} {'Removed.' if check.repair else run_repair()}", check.repair)
    waiting = _old_uploads(check, moment - KEPT_SECONDS)
    if waiting:
        what = f"{count(len(waiting), 'file')} in the spool that no import waits for ({some(waiting, len(waiting))})."
        if check.repair:
            sweep_spool(ws)
            sweep_runs(ws)
        left = _old_uploads(check, moment - KEPT_SECONDS) if check.repair else waiting
        check.found(FILES, f"{what} {'Removed.' if not left else run_repair()}", not left)


def _old_uploads(check: Check, before: float) -> list[str]:
    ws, old = check.ws, []
    for path in ws.spool.iterdir():
        try:
            if path.stat().st_mtime < before:
                old.append(path)
        except OSError:
            continue
    there = invoke_runs.run_ids(ws.db)
    # Asked after looking: what was asked for in between is wanted.
    wanted = {path for job in jobs.list_jobs(ws.db, limit=_ALL) for path in spooled(ws, job.payload)}
    endings = (".zip", SELECTION_ENDING, TABLE_ENDING, ".part")
    return sorted(
        path.name
        for path in old
        if path not in wanted
        and (path.name.endswith(endings) or (".run" in path.name and path.name.partition("-")[0] not in there))
    )
