"""The table of tasks: who has a piece of work, what a dead worker leaves, and that none outlives its job."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from detector.errors import JobTakenOver
from detector.storage import functions, jobs, tasks
from detector.storage.database import now
from detector.storage.jobs import STALE_SECONDS, Job
from detector.storage.schema import tasks as table
from detector.storage.schema import workers as workers_table
from detector.storage.tasks import MOST_DEATHS, Task
from detector.storage.workers import live_workers, other_workers, remove_worker, sign_worker, sweep_workers
from detector.workspace import Workspace
from tests.command_line import CHECKOUT
from tests.factories import empty_function, workspace
from tests.task_counts import count_tasks


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def job(ws: Workspace) -> Job:
    jobs.enqueue(ws.db, empty_function(ws).id, "build")
    claimed = jobs.claim(ws.db, ("build",))
    assert claimed is not None
    return claimed


def _offer(ws: Workspace, job: Job, number: int = 1) -> None:
    for position in range(number):
        tasks.put_task(ws.db, job.id, position, "embed", {"key": "k"}, [f"hash-{position}"])


def _taken(ws: Workspace) -> Task:
    task = tasks.take_task(ws.db)
    assert task is not None
    return task


def _set(ws: Workspace, task: Task, **values: object) -> None:
    with ws.db.write() as connection:
        connection.execute(update(table).where(table.c.id == task.id).values(**values))


def _dead_process() -> str:
    said = subprocess.run(
        [sys.executable, "-c", "from detector.storage.jobs import this_process; print(this_process())"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip()


def test_each_task_is_taken_once_in_its_order_with_all_that_it_needs(ws: Workspace, job: Job) -> None:
    _offer(ws, job, 2)
    first, second = _taken(ws), _taken(ws)
    assert (first.position, second.position) == (0, 1)
    assert (first.work, first.parameters, first.items) == ("embed", {"key": "k"}, ["hash-0"])
    assert first.lease != second.lease
    assert tasks.take_task(ws.db) is None


def test_what_came_of_tasks_is_collected_once(ws: Workspace, job: Job) -> None:
    _offer(ws, job, 2)
    tasks.finish_task(ws.db, _taken(ws), {"done": 1})
    [ended] = tasks.collect_tasks(ws.db, job.id)
    assert (ended.position, ended.result, ended.message) == (0, {"done": 1}, "")
    assert tasks.collect_tasks(ws.db, job.id) == []
    assert count_tasks(ws.db, job.id) == {"queued": 1}


@pytest.mark.parametrize("silent", ["dead on this machine", "silent on another one"])
def test_a_task_of_a_worker_that_is_gone_is_offered_again_and_the_worker_cannot_mark_it_done(
    ws: Workspace, job: Job, silent: str
) -> None:
    _offer(ws, job)
    lost = _taken(ws)
    assert tasks.take_back_tasks(ws.db, job.id) == 0
    if silent == "dead on this machine":
        _set(ws, lost, owner=_dead_process())
    else:
        assert socket.gethostname() != "elsewhere"
        _set(ws, lost, owner="elsewhere:1:x", heartbeat=now() - STALE_SECONDS - 1)
    assert tasks.take_back_tasks(ws.db, job.id) == 1
    again = _taken(ws)
    assert (again.id, again.items) == (lost.id, lost.items)
    for late in (
        lambda: tasks.finish_task(ws.db, lost, {"done": 1}),
        lambda: tasks.keep_task(ws.db, lost),
        lambda: tasks.give_back_task(ws.db, lost),
    ):
        with pytest.raises(JobTakenOver):
            late()
    assert count_tasks(ws.db) == {"running": 1}
    tasks.finish_task(ws.db, again, {"done": 1})


def test_a_task_that_ends_its_workers_fails_with_a_sentence_and_one_given_back_does_not(
    ws: Workspace, job: Job
) -> None:
    _offer(ws, job)
    for _ in range(2 * MOST_DEATHS):
        # A worker that is stopped in order is no death.
        tasks.give_back_task(ws.db, _taken(ws))
    for _ in range(MOST_DEATHS):
        # Nor is one that ends while it loads the network.
        _set(ws, _taken(ws), owner="elsewhere:1:x", heartbeat=0.0)
        tasks.take_back_tasks(ws.db, job.id)
        task = _taken(ws)
        tasks.begin_task(ws.db, task)
        tasks.give_back_task(ws.db, task)
    for _ in range(MOST_DEATHS):
        task = _taken(ws)
        tasks.begin_task(ws.db, task)
        _set(ws, task, owner="elsewhere:1:x", heartbeat=0.0)
        tasks.take_back_tasks(ws.db, job.id)
    assert tasks.take_task(ws.db) is None
    [ended] = tasks.collect_tasks(ws.db, job.id)
    assert ended.result is None
    assert ended.message.startswith("One piece of the work ended 3 workers one after the other")


def test_workers_that_end_after_some_progress_are_no_sign_against_the_task(ws: Workspace, job: Job) -> None:
    """Machines that are killed again and again: with ten kills among three workers, one piece met three of them."""
    _offer(ws, job)
    for _ in range(3 * MOST_DEATHS):
        task = _taken(ws)
        tasks.begin_task(ws.db, task)
        tasks.keep_task(ws.db, task, progressed=True)
        _set(ws, task, owner="elsewhere:1:x", heartbeat=0.0)
        assert tasks.take_back_tasks(ws.db, job.id) == 1
    assert tasks.collect_tasks(ws.db, job.id) == []
    assert tasks.take_task(ws.db) is not None


def test_nobody_takes_tasks_of_a_job_that_waits_or_has_ended_and_they_are_swept(ws: Workspace, job: Job) -> None:
    _offer(ws, job)
    assert tasks.take_task(ws.db, but_of=[job.id]) is None
    jobs.requeue(ws.db, job.id, job.lease)
    assert tasks.take_task(ws.db) is None
    assert tasks.sweep_tasks(ws.db) == 0
    jobs.finish(ws.db, job.id, "cancelled")
    assert tasks.sweep_tasks(ws.db) == 1
    assert count_tasks(ws.db) == {}


def test_a_deleted_function_takes_its_tasks_along(ws: Workspace, job: Job) -> None:
    _offer(ws, job)
    functions.delete_function(ws.db, job.function_id)
    assert count_tasks(ws.db) == {}


def test_workers_are_known_as_long_as_they_live(ws: Workspace) -> None:
    sign_worker(ws.db, ["build", "tasks"])
    sign_worker(ws.db, ["build", "tasks"])
    assert [row.name for row in live_workers(ws.db)] == [jobs.this_process()]
    assert other_workers(ws.db, "tasks") == 0
    with ws.db.write() as connection:
        for name, kinds, heartbeat in (
            ("elsewhere:1:x", ["tasks"], now()),
            ("elsewhere:2:y", ["import"], now()),
            ("elsewhere:3:z", ["tasks"], now() - STALE_SECONDS - 1),
            (_dead_process(), ["tasks"], now()),
        ):
            values = {"name": name, "kinds": kinds, "started_at": 1.0, "heartbeat": heartbeat}
            connection.execute(workers_table.insert().values(**values))
    assert other_workers(ws.db, "tasks") == 1
    sweep_workers(ws.db)
    remove_worker(ws.db)
    assert sorted(row.name for row in live_workers(ws.db)) == ["elsewhere:1:x", "elsewhere:2:y"]


def test_a_task_of_a_worker_that_lives_but_is_silent_goes_to_another(ws: Workspace, job: Job) -> None:
    """It may hang in a network drive for ever, and the job would wait for it for ever."""
    _offer(ws, job)
    task = _taken(ws)
    # Its clock may say anything: what counts is that no new sign comes.
    _set(ws, task, heartbeat=0.0)
    assert tasks.take_back_tasks(ws.db, job.id, silence=0.01) == 0
    time.sleep(0.02)
    tasks.keep_task(ws.db, task)
    assert tasks.take_back_tasks(ws.db, job.id, silence=0.01) == 0
    time.sleep(0.02)
    assert tasks.take_back_tasks(ws.db, job.id) == 0
    assert tasks.take_back_tasks(ws.db, job.id, silence=0.01) == 1
    with pytest.raises(JobTakenOver):
        tasks.finish_task(ws.db, task, {"done": 1})
    assert _taken(ws).lease != task.lease
