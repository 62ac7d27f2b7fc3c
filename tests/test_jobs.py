"""Background work from request to end: resumed, merged, cancelled, and failed with a sentence."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from detector.errors import ArchiveError, JobCancelled, JobTakenOver
from detector.importing.batch import folder_payload, zip_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import BUILD, EVALUATE, IMPORT, request_build, request_import, request_retraining
from detector.storage import annotating, functions, imports, jobs, models, samples
from detector.storage.functions import Function
from detector.storage.imports import ImportCounts
from detector.storage.jobs import Job
from detector.storage.schema import jobs as jobs_table
from detector.system.priority import NICE
from detector.worker.runner import JobRunner
from detector.worker.running import run_job, run_pending
from detector.workspace import Workspace
from tests.factories import (
    add_images,
    empty_function,
    images,
    label_ids,
    labelled_function,
    make_image,
    stored_batch,
    workspace,
    write_zip,
)

PLAN = LabelPlan("folders", level=0)
FILES = {f"{label}/{name}": data for name, data, label in images(3)}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


def _request_zip(ws: Workspace, function: Function, files: dict[str, bytes] | None = None) -> tuple[str, Path]:
    """Queue the import of a spooled archive; returns (batch id, its path)."""
    path = write_zip(ws.spool / "ab12.zip", FILES if files is None else files)
    batch_id, _ = request_import(ws, function.id, zip_payload(path, PLAN, "holiday.zip"), "zip")
    return batch_id, path


def _claim(ws: Workspace, kind: str) -> Job:
    job = jobs.claim(ws.db, (kind,), ignore_delay=True)
    assert job is not None
    return job


def _wait_until(holds: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def _die(ws: Workspace, job: Job) -> None:
    """What the tables say after ``kill -9`` of the process that ran this job."""
    with ws.db.write() as connection:
        connection.execute(
            update(jobs_table)
            .where(jobs_table.c.id == job.id)
            .values(state="running", owner=f"{jobs.this_process().rsplit(':', 2)[0]}:4194304:1.00")
        )


def test_an_import_is_followed_by_a_build_and_takes_its_archive_away(ws: Workspace, function: Function) -> None:
    batch_id, path = _request_zip(ws, function)
    assert functions.list_functions(ws.db)[0].busy
    result = run_pending(ws, function.id)
    assert result is not None
    assert result.trained
    assert imports.batch_counts(ws.db, batch_id) == ImportCounts(imported=6)
    assert stored_batch(ws, batch_id).state == "done"
    assert not path.exists()
    states = {job.kind: job.state for job in jobs.list_jobs(ws.db, function.id, active=False)}
    assert states == {IMPORT: "done", BUILD: "done", EVALUATE: "queued"}


def test_a_folder_of_the_user_is_never_removed(ws: Workspace, function: Function, tmp_path: Path) -> None:
    folder = tmp_path / "set" / "real"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(make_image(50))
    request_import(ws, function.id, folder_payload(tmp_path / "set", PLAN), "folder")
    elsewhere = write_zip(tmp_path / "own.zip", FILES)
    request_import(ws, function.id, zip_payload(elsewhere, PLAN, "own.zip"), "zip")
    for _ in range(2):
        run_job(ws, _claim(ws, IMPORT))
    assert (folder / "a.png").exists()
    assert elsewhere.exists()
    assert samples.count_samples(ws.db, function.id) == 7


@pytest.mark.slow
def test_twenty_label_changes_are_one_retraining(ws: Workspace) -> None:
    function = labelled_function(ws, 4)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    ids = label_ids(ws, function)
    for sample in samples.find_samples(ws.db, function.id, samples.SampleFilter(annotated=ids["real"]), limit=2):
        for label in ("synthetic", "real") * 5:
            annotating.annotate(ws.db, [sample.id], ids[label])
            request_retraining(ws, function.id)
    annotating.annotate(ws.db, [sample.id], ids["synthetic"])
    request_retraining(ws, function.id)
    assert [job.kind for job in jobs.list_jobs(ws.db, function.id)].count(BUILD) == 1
    run_pending(ws, function.id)
    assert [model.version for model in models.list_models(ws.db, function.id)] == [2, 1]


def test_a_label_change_waits_for_the_pause_of_the_settings(tmp_path: Path) -> None:
    ws = workspace(tmp_path, retrain_delay=60.0)
    function = empty_function(ws)
    request_retraining(ws, function.id)
    assert jobs.claim(ws.db, (BUILD,)) is None
    # A command line that asks for the result does not wait.
    assert run_pending(ws, function.id) is not None


def test_an_import_that_fails_says_why_and_its_archive_goes(ws: Workspace, function: Function) -> None:
    batch_id, path = _request_zip(ws, function)
    path.write_bytes(b"cut off on the way")
    job = _claim(ws, IMPORT)
    with pytest.raises(ArchiveError) as caught:
        run_job(ws, job)
    ended, batch = jobs.get_job(ws.db, job.id), stored_batch(ws, batch_id)
    assert (ended.state, ended.message) == ("failed", str(caught.value))
    assert (batch.state, batch.note) == ("failed", str(caught.value))
    assert not path.exists()


def test_a_build_that_fails_leaves_its_sentence_with_the_function(ws: Workspace) -> None:
    function = labelled_function(ws, 2)
    functions.set_backbone(ws.db, function.id, "no-such-backbone", "")
    request_build(ws, function.id)
    job = _claim(ws, BUILD)
    with pytest.raises(Exception, match="no-such-backbone"):
        run_job(ws, job)
    note = functions.get_function(ws.db, function.id).training_note
    assert "no-such-backbone" in note
    assert jobs.get_job(ws.db, job.id).message == note
    assert samples.count_samples(ws.db, function.id) == 4


def test_an_unexpected_error_is_told_without_its_details(ws: Workspace) -> None:
    function = labelled_function(ws, 2)
    functions.set_sweep_settings(ws.db, function.id, {"no such setting": [1]})
    request_build(ws, function.id)
    job = _claim(ws, BUILD)
    with pytest.raises(TypeError):
        run_job(ws, job)
    ended = jobs.get_job(ws.db, job.id)
    assert ended.state == "failed"
    assert ended.message.startswith("Something unexpected went wrong")


@pytest.mark.parametrize("kind", [IMPORT, BUILD])
def test_deleting_the_function_cancels_what_runs(ws: Workspace, function: Function, kind: str) -> None:
    """An import used to end in an integrity error, and left its archive in the spool for ever."""
    _, path = _request_zip(ws, function)
    if kind == BUILD:
        run_job(ws, _claim(ws, IMPORT))

    def delete(*_progress: object) -> None:
        if functions.find_live(ws.db, function.id) is not None:
            functions.delete_function(ws.db, function.id)

    with pytest.raises(JobCancelled):
        run_job(ws, _claim(ws, kind), delete)
    assert not path.exists()
    assert jobs.list_jobs(ws.db, active=False) == []
    assert functions.list_functions(ws.db) == []


def test_cancelling_a_running_import_closes_its_report(ws: Workspace, function: Function) -> None:
    batch_id, path = _request_zip(ws, function)
    job = _claim(ws, IMPORT)
    jobs.finish(ws.db, job.id, "cancelled")
    with pytest.raises(JobCancelled):
        run_job(ws, job)
    assert jobs.get_job(ws.db, job.id).state == "cancelled"
    assert stored_batch(ws, batch_id).state == "failed"
    assert not path.exists()


class _KillError(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.slow
def test_an_import_whose_process_died_is_resumed_in_its_own_report(ws: Workspace, function: Function) -> None:
    files = {f"{label}/{name}": data for name, data, label in images(40)}
    batch_id, path = _request_zip(ws, function, files)

    def kill(_phase: str, done: int, _total: int, _message: str, _rate: float | None) -> None:
        if done:
            raise _KillError

    job = _claim(ws, IMPORT)
    with pytest.raises(_KillError):
        run_job(ws, job, kill)
    _die(ws, job)
    assert 0 < samples.count_samples(ws.db, function.id) < 80
    assert path.exists()
    assert jobs.requeue_orphans(ws.db) == 1
    run_job(ws, _claim(ws, IMPORT))
    assert imports.batch_counts(ws.db, batch_id) == ImportCounts(imported=80)
    assert [batch.id for batch in imports.list_batches(ws.db, function.id)] == [batch_id]
    assert not path.exists()


_WHEN = "CREATE TRIGGER killed BEFORE UPDATE OF state ON jobs"
_KILLED = {
    "sqlite": [f"{_WHEN} WHEN NEW.state = 'done' BEGIN SELECT RAISE(ABORT, 'killed'); END"],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION kill() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'killed'; END $$",
        f"{_WHEN} FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION kill()",
    ],
}


def test_an_import_killed_at_its_very_end_does_not_become_a_failure(ws: Workspace, function: Function) -> None:
    """The archive used to be removed before the job's end was written: the resumed job then found none."""
    batch_id, path = _request_zip(ws, function)
    job = _claim(ws, IMPORT)
    told: list[Any] = []

    # A trigger, so that exactly the write of the end fails, as it would without the process.
    with ws.db.write() as connection:
        for statement in _KILLED[connection.dialect.name]:
            connection.exec_driver_sql(statement)
    with pytest.raises(Exception, match="killed"):
        run_job(ws, job, lambda *said: told.append(said))
    assert told
    with ws.db.write() as connection:
        on = "" if connection.dialect.name == "sqlite" else " ON jobs"
        connection.exec_driver_sql(f"DROP TRIGGER killed{on}")
    assert path.exists()
    _die(ws, job)
    jobs.requeue_orphans(ws.db)
    run_job(ws, _claim(ws, IMPORT))
    assert stored_batch(ws, batch_id).state == "done"
    assert imports.batch_counts(ws.db, batch_id) == ImportCounts(imported=6)
    assert not path.exists()


@pytest.mark.slow
def test_the_runner_imports_trains_and_takes_back_orphans(ws: Workspace, function: Function) -> None:
    batch_id, _ = _request_zip(ws, function)
    _die(ws, _claim(ws, IMPORT))
    runner = JobRunner(ws)
    runner.start()
    try:
        _wait_until(lambda: functions.get_function(ws.db, function.id).live_model_id is not None)
        _wait_until(lambda: not jobs.list_jobs(ws.db, function.id))
    finally:
        runner.stop()
    assert imports.batch_counts(ws.db, batch_id) == ImportCounts(imported=6)
    assert samples.count_by(ws.db, function.id).predicted == 6


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_pages_go_before_jobs_and_the_threads_that_jobs_start(
    ws: Workspace, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, found = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), []

    def look() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def started(*_given: object, **_how: object) -> None:
        look()
        started_by_it = threading.Thread(target=look)
        started_by_it.start()
        started_by_it.join()

    monkeypatch.setattr("detector.worker.runner.run_job", started)
    request_build(ws, function.id)
    runner = JobRunner(ws)
    runner.start()
    try:
        _wait_until(lambda: len(found) == 2)
    finally:
        runner.stop()
    assert found == [max(NICE, here)] * 2


@pytest.mark.slow
def test_a_lane_that_dies_is_reported_and_started_again(
    ws: Workspace, function: Function, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Kind: an extension in Rust panics with an exception that is none to Python's ``except Exception``."""
    add_images(ws, function, images(4))
    tried = []

    def panics_once(ws: Workspace, job: Job, *given: Any, **how: Any) -> Any:
        tried.append(job.id)
        if len(tried) == 1:
            raise SystemExit("panic")
        return run_job(ws, job, *given, **how)

    monkeypatch.setattr("detector.worker.runner.run_job", panics_once)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    job_id = request_build(ws, function.id)
    runner = JobRunner(ws)
    runner.start()
    try:
        _wait_until(lambda: jobs.get_job(ws.db, job_id).state == "done")
    finally:
        runner.stop()
    assert jobs.get_job(ws.db, job_id).crashes == 1
    # What follows from a build may be claimed before the runner stops.
    assert tried.count(job_id) == 2
    assert "the lane of build died" in caplog.text


def test_a_job_that_another_process_took_over_is_left_alone(ws: Workspace, function: Function) -> None:
    """Its archive stays as well: the other process reads it."""
    batch_id, path = _request_zip(ws, function)
    job = _claim(ws, IMPORT)
    assert jobs.requeue_crashed(ws.db, jobs.this_process()) == 1
    another = _claim(ws, IMPORT)
    with pytest.raises(JobTakenOver):
        run_job(ws, job)
    assert jobs.get_job(ws.db, job.id) == another
    assert path.exists()
    run_job(ws, another)
    assert imports.batch_counts(ws.db, batch_id).imported == 6
    assert not path.exists()


def test_a_failing_job_does_not_stop_the_runner(ws: Workspace, function: Function) -> None:
    _, path = _request_zip(ws, function)
    path.write_bytes(b"bad")
    other = empty_function(ws, "Other")
    good = write_zip(ws.spool / "cd34.zip", FILES)
    request_import(ws, other.id, zip_payload(good, PLAN, "good.zip"), "zip")
    runner = JobRunner(ws)
    runner.start()
    try:
        _wait_until(lambda: samples.count_samples(ws.db, other.id) == 6)
    finally:
        runner.stop()
    assert imports.list_batches(ws.db, function.id)[0].state == "failed"


@pytest.mark.slow
def test_a_stopped_runner_leaves_its_job_to_be_resumed(ws: Workspace, function: Function) -> None:
    files = {f"{label}/{name}": data for name, data, label in images(400, ("real",))}
    batch_id, path = _request_zip(ws, function, files)
    stored, go_on = threading.Event(), threading.Event()

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if threading.current_thread().name == "jobs-import" and statement.startswith("INSERT INTO samples"):
            stored.set()

    def hold(*_connection: Any) -> None:
        """Keep the import, its first samples just committed, from going on before it is told to stop."""
        if threading.current_thread().name == "jobs-import" and stored.is_set():
            go_on.wait(60)

    event.listen(ws.db.engine, "before_cursor_execute", note)
    event.listen(ws.db.engine, "checkin", hold)
    runner = JobRunner(ws)
    runner.start()
    _wait_until(stored.is_set)
    stopping = threading.Thread(target=runner.stop)
    stopping.start()
    # Told at once; that the lanes beside it end is not waited for, as one that asks for work waits for this import,
    # whose turn to write is not over yet.
    stopping.join(2)
    go_on.set()
    stopping.join()
    [job] = [item for item in jobs.list_jobs(ws.db, function.id, active=False) if item.kind == IMPORT]
    assert job.state == "queued"
    assert 0 < samples.count_samples(ws.db, function.id) < 400
    assert path.exists()
    run_job(ws, _claim(ws, IMPORT))
    assert imports.batch_counts(ws.db, batch_id) == ImportCounts(imported=400)
