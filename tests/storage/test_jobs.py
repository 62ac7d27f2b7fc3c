"""The queue: who runs what, what is merged, and what a dead process leaves."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from detector.errors import JobCancelled, JobTakenOver, NotFound
from detector.storage import functions, jobs
from detector.storage.database import Database, now
from detector.storage.functions import Function
from detector.storage.schema import jobs as table
from detector.workspace import Workspace
from tests.command_line import CHECKOUT
from tests.factories import empty_function, workspace

BUILD, IMPORT = ("build",), ("import",)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


def _set(ws: Workspace, job_id: str, **values: object) -> None:
    with ws.db.write() as connection:
        connection.execute(update(table).where(table.c.id == job_id).values(**values))


def test_a_queued_job_is_claimed_once(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build")
    job = jobs.claim(ws.db, BUILD)
    assert job is not None
    assert (job.id, job.state, job.owner) == (job_id, "running", jobs.this_process())
    assert job.started_at is not None
    assert jobs.claim(ws.db, BUILD) is None


def test_equal_requests_before_the_start_are_one_job(ws: Workspace, function: Function) -> None:
    first = jobs.enqueue(ws.db, function.id, "build", delay=60)
    assert jobs.enqueue(ws.db, function.id, "build", delay=60) == first
    assert jobs.enqueue(ws.db, function.id, "build", {"other": 1}) != first
    assert jobs.enqueue(ws.db, function.id, "import") != first
    assert jobs.enqueue(ws.db, empty_function(ws, "Other").id, "build") != first


def test_a_request_while_the_job_runs_is_another_job_that_waits(ws: Workspace, function: Function) -> None:
    first = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    second = jobs.enqueue(ws.db, function.id, "build")
    assert second != first
    assert jobs.claim(ws.db, BUILD) is None
    jobs.finish(ws.db, first, "done")
    job = jobs.claim(ws.db, BUILD)
    assert job is not None
    assert job.id == second


def test_a_delayed_job_is_not_due_and_each_request_moves_it(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build", delay=60)
    assert jobs.claim(ws.db, BUILD) is None
    earlier = jobs.get_job(ws.db, job_id).run_after
    jobs.enqueue(ws.db, function.id, "build", delay=120)
    assert jobs.get_job(ws.db, job_id).run_after > earlier + 30
    assert jobs.claim(ws.db, BUILD, ignore_delay=True) is not None


def test_jobs_of_other_functions_and_kinds_run_beside_it(ws: Workspace, function: Function) -> None:
    other = empty_function(ws, "Other")
    for owner in (function, other):
        jobs.enqueue(ws.db, owner.id, "build")
    jobs.enqueue(ws.db, function.id, "import")
    claimed = [jobs.claim(ws.db, BUILD), jobs.claim(ws.db, BUILD), jobs.claim(ws.db, IMPORT)]
    assert [job.function_id for job in claimed if job] == [function.id, other.id, function.id]


def test_a_claim_can_ask_for_one_function(ws: Workspace, function: Function) -> None:
    other = empty_function(ws, "Other")
    jobs.enqueue(ws.db, function.id, "build")
    assert jobs.claim(ws.db, BUILD, other.id) is None
    assert jobs.claim(ws.db, BUILD, function.id) is not None


def test_progress_is_written_and_gives_the_time_left(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    jobs.report(ws.db, job_id, "embed", 25, 100, "Looking", 5.0)
    job = jobs.get_job(ws.db, job_id)
    assert (job.phase, job.done, job.total, job.message, job.seconds_left) == ("embed", 25, 100, "Looking", 15.0)
    jobs.report(ws.db, job_id, "train", 0, 0, "Preparing")
    assert jobs.get_job(ws.db, job_id).seconds_left is None


def test_a_report_of_a_cancelled_or_deleted_job_stops_the_work(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    jobs.finish(ws.db, job_id, "cancelled")
    with pytest.raises(JobCancelled):
        jobs.report(ws.db, job_id, "train", 1, 2, "")
    other = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    functions.delete_function(ws.db, function.id)
    with pytest.raises(JobCancelled):
        jobs.report(ws.db, other, "train", 1, 2, "")
    with pytest.raises(NotFound):
        jobs.get_job(ws.db, other)


def test_the_list_shows_active_jobs_and_the_ended_when_asked(ws: Workspace, function: Function) -> None:
    ended = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    jobs.finish(ws.db, ended, "failed", "No weights.")
    queued = jobs.enqueue(ws.db, function.id, "build")
    assert [job.id for job in jobs.list_jobs(ws.db, function.id)] == [queued]
    assert {job.id for job in jobs.list_jobs(ws.db, active=False)} == {queued, ended}
    assert jobs.get_job(ws.db, ended).message == "No weights."
    assert functions.list_functions(ws.db)[0].busy


def _claim_and_die(url: str) -> None:
    jobs.claim(Database(url), BUILD)
    os._exit(9)


@pytest.mark.slow
def test_what_a_killed_process_ran_is_queued_again(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build")
    # Not by multiprocessing: its child runs the main module of this process, which a page's test may have replaced.
    code = f"from tests.storage.test_jobs import _claim_and_die; _claim_and_die({ws.settings.url!r})"
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, timeout=120).returncode == 9
    assert jobs.get_job(ws.db, job_id).state == "running"
    assert jobs.claim(ws.db, BUILD) is None
    assert jobs.requeue_orphans(ws.db) == 1
    job = jobs.claim(ws.db, BUILD)
    assert job is not None
    assert job.id == job_id


def test_what_a_living_process_runs_is_left_alone(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    _set(ws, job_id, heartbeat=now() - 10 * jobs.STALE_SECONDS)
    assert jobs.requeue_orphans(ws.db) == 0


def test_a_later_process_of_the_same_number_is_not_the_owner(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    _set(ws, job_id, owner=f"{socket.gethostname()}:{os.getpid()}:1.00")
    assert jobs.requeue_orphans(ws.db) == 1


def test_a_job_of_another_machine_counts_by_its_heartbeat(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    _set(ws, job_id, owner="elsewhere:1:1.00")
    assert jobs.requeue_orphans(ws.db) == 0
    _set(ws, job_id, heartbeat=now() - jobs.STALE_SECONDS - 1)
    assert jobs.requeue_orphans(ws.db) == 1


def test_a_container_of_the_same_host_name_counts_by_its_heartbeat(ws: Workspace, function: Function) -> None:
    """The kind: its processes have numbers of their own, so each took the other's for dead."""
    job_id = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    place, pid, born = jobs.this_process().rsplit(":", 2)
    boot, _, ticks = born.partition("-")
    if os.path.lexists("/proc/self/ns/pid"):
        assert place.startswith(f"{socket.gethostname()}/")
    names = [
        # Another container of this machine, and one that happens to count like this on another machine.
        f"{socket.gethostname()}/1:4194304:{born}",
        f"{place}:4194304:00000000-{ticks}",
    ]
    for name in names:
        _set(ws, job_id, owner=name, heartbeat=now())
        assert jobs.requeue_orphans(ws.db) == 0, name
        _set(ws, job_id, heartbeat=now() - jobs.STALE_SECONDS - 1)
        assert jobs.requeue_orphans(ws.db) == 1, name
        jobs.claim(ws.db, BUILD)
    # Written before containers were told apart: the process is looked for here.
    _set(ws, job_id, owner=f"{socket.gethostname()}:{pid}:{boot}-{ticks}", heartbeat=0.0)
    assert jobs.requeue_orphans(ws.db) == 0
    _set(ws, job_id, owner=f"{socket.gethostname()}:4194304:{boot}-{ticks}", heartbeat=now())
    assert jobs.requeue_orphans(ws.db) == 1


def test_who_lost_a_job_meanwhile_writes_nothing_of_it(ws: Workspace, function: Function) -> None:
    """Kind: a process that was taken for dead and goes on. Nothing of its job may end up in the other one's row."""
    job_id = jobs.enqueue(ws.db, function.id, "build")
    first = jobs.claim(ws.db, BUILD)
    assert first is not None
    assert first.lease is not None
    for taken_again in (False, True):
        if not taken_again:
            assert jobs.requeue_crashed(ws.db, jobs.this_process()) == 1
        else:
            second = jobs.claim(ws.db, BUILD)
            assert second is not None
            assert second.crashes == 1
        before = jobs.get_job(ws.db, job_id)
        with pytest.raises(JobTakenOver):
            jobs.report(ws.db, job_id, "train", 1, 2, "", lease=first.lease)
        for state in ("done", "failed", "cancelled"):
            with pytest.raises(JobTakenOver):
                jobs.finish(ws.db, job_id, state, "late", first.lease)
        jobs.requeue(ws.db, job_id, first.lease)
        assert jobs.get_job(ws.db, job_id) == before
    jobs.report(ws.db, job_id, "train", 1, 2, "", lease=second.lease)
    jobs.finish(ws.db, job_id, "done", lease=second.lease)
    assert jobs.get_job(ws.db, job_id).state == "done"


def test_a_cancelled_job_can_be_ended_by_who_ran_it(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build")
    job = jobs.claim(ws.db, BUILD)
    assert job is not None
    jobs.finish(ws.db, job_id, "cancelled")
    with pytest.raises(JobCancelled) as cancelled:
        jobs.report(ws.db, job_id, "train", 1, 2, "", lease=job.lease)
    assert not isinstance(cancelled.value, JobTakenOver)
    jobs.finish(ws.db, job_id, "cancelled", "The job was cancelled.", job.lease)
    assert jobs.get_job(ws.db, job_id).message == "The job was cancelled."


def test_what_a_process_took_but_does_not_run_goes_back_into_the_queue(ws: Workspace, function: Function) -> None:
    """Kind: a job that was taken just as the database went away stayed "running" with nobody running it."""
    job_id = jobs.enqueue(ws.db, function.id, "build")
    assert jobs.claim(ws.db, BUILD) is not None
    assert jobs.requeue_orphans(ws.db, {job_id}) == 0
    assert jobs.requeue_orphans(ws.db, set()) == 1
    assert jobs.get_job(ws.db, job_id).state == "queued"


@pytest.mark.slow
@pytest.mark.parametrize("set_by", [-3600, 3600, -3, 86_400 * 365])
@pytest.mark.parametrize("how", ["asked", "put off"])
def test_a_clock_that_was_set_since_keeps_no_job_waiting_longer_than_its_pause(
    ws: Workspace, function: Function, set_by: float, how: str
) -> None:
    """Kind: after the clock went back an hour a build waited for 3,580 s. Its rows are as another clock wrote them."""
    job_id = jobs.enqueue(ws.db, function.id, "build", delay=0 if how == "put off" else 0.3)
    if how == "put off":
        assert jobs.claim(ws.db, BUILD) is not None
        jobs.put_off(ws.db, job_id, "The disk is full.", 0.3)
    job = jobs.get_job(ws.db, job_id)
    assert job.heartbeat is not None
    _set(ws, job_id, **{name: getattr(job, name) - set_by for name in ("run_after", "heartbeat", "created_at")})
    deadline = time.monotonic() + 60
    while jobs.claim(ws.db, BUILD) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_sign_of_life_from_the_future_does_not_keep_the_job_of_a_dead_machine(
    ws: Workspace, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: as above; whether another machine lives was told by the clock alone."""
    job_id = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    _set(ws, job_id, owner="elsewhere:1:1.00", heartbeat=now() + 3600)
    monkeypatch.setattr(jobs, "STALE_SECONDS", 0.2)
    assert jobs.requeue_orphans(ws.db) == 0
    _set(ws, job_id, heartbeat=now() + 3601)
    time.sleep(0.3)
    assert jobs.requeue_orphans(ws.db) == 0, "it has given another sign"
    time.sleep(0.3)
    assert jobs.requeue_orphans(ws.db) == 1


def test_a_job_put_back_is_due_at_once(ws: Workspace, function: Function) -> None:
    job_id = jobs.enqueue(ws.db, function.id, "build")
    jobs.claim(ws.db, BUILD)
    jobs.requeue(ws.db, job_id)
    job = jobs.claim(ws.db, BUILD)
    assert job is not None
    assert job.id == job_id
    jobs.finish(ws.db, job_id, "done")
    jobs.requeue(ws.db, job_id)
    assert jobs.claim(ws.db, BUILD) is None
