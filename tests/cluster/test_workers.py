"""Several ``worker`` processes share one build: killed at any moment, started again, stopped in order."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, select, update

from detector.errors import JobTakenOver
from detector.jobs import EVALUATE, request_build
from detector.storage import jobs
from detector.storage.database import new_id
from detector.storage.functions import get_function, set_training_note
from detector.storage.held import holding
from detector.storage.schema import functions, tasks
from detector.storage.workers import live_workers
from detector.workspace import Workspace
from tests.app_server import AppServer
from tests.cluster.one_machine import (
    SETTINGS,
    embedded,
    failed,
    images_embedded,
    live_model_file,
    stored_embeddings,
    train_alone,
    until,
)
from tests.cluster.worker_processes import WorkerProcesses
from tests.command_line import environment
from tests.factories import labelled_function, workspace
from tests.postgres import postgres
from tests.task_counts import count_tasks

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("workers")) as address:
        yield address


@pytest.fixture
def url(server: str) -> str:
    """A database of each test's own: the same pictures are looked at again."""
    name = f"workers_{new_id()}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def ws(tmp_path: Path, url: str) -> Iterator[Workspace]:
    opened = workspace(tmp_path / "data", database_url=url)
    yield opened
    opened.close()


@pytest.fixture
def workers(tmp_path: Path, url: str) -> Iterator[WorkerProcesses]:
    processes = WorkerProcesses(
        tmp_path / "logs", environment(tmp_path / "data", **SETTINGS, DETECTOR_DATABASE_URL=url)
    )
    yield processes
    processes.stop()


def test_three_workers_killed_at_three_moments_make_the_model_of_one(
    tmp_path: Path, ws: Workspace, workers: WorkerProcesses
) -> None:
    moments = random.Random(17)
    alone = workspace(tmp_path / "alone")
    expected = train_alone(alone, labelled_function(alone, 100))
    function = labelled_function(ws, 100)
    workers.start(3)
    until(lambda: len(live_workers(ws.db)) == 3, "three workers are there")
    job_id = request_build(ws, function.id)
    owners: set[str] = set()

    def has(images: int) -> bool:
        owners.update(_owners_of_tasks(ws))
        return embedded(ws) >= images

    for reached in (20, 60, 100):
        until(partial(has, reached), f"{reached} images are embedded")
        time.sleep(moments.uniform(0, 1))
        workers.end(moments.randrange(len(workers.running)))
        # Two are enough to end it.
        if reached < 100:
            workers.start(1)
    until(lambda: jobs.get_job(ws.db, job_id).state == "done", "the job ends")
    assert (embedded(ws), images_embedded(ws), failed(ws)) == (200, 200, 0)
    assert stored_embeddings(ws) == stored_embeddings(alone)
    assert live_model_file(ws, function) == expected
    # Where the job's holder was killed last and too little was left to share, the others sweep what it offered.
    until(lambda: count_tasks(ws.db) == {}, "no task is left", 60)
    assert len(owners) > 1, "nobody took a piece of another's work"
    assert "Traceback" not in workers.log()


def test_a_worker_that_is_stopped_gives_its_work_back_and_another_ends_it(
    ws: Workspace, workers: WorkerProcesses
) -> None:
    function = labelled_function(ws, 60)
    job_id = request_build(ws, function.id)
    workers.start(1, "--kinds", "build")
    until(lambda: embedded(ws) > 0, "the worker embeds")
    assert workers.end(0, signal.SIGTERM) == 0
    job = jobs.get_job(ws.db, job_id)
    assert (job.state, job.lease, job.crashes) == ("queued", None, 0)
    assert images_embedded(ws) > 0
    assert live_workers(ws.db) == []
    # Once: it ends when nothing is left, and leaves what is not its kind.
    workers.start(1, "--kinds", "build", "--once")
    assert workers.running.pop().wait(180) == 0
    assert jobs.get_job(ws.db, job_id).state == "done"
    assert {job.kind for job in jobs.list_jobs(ws.db, function.id)} == {EVALUATE}


def test_a_job_cannot_be_taken_over_between_the_question_and_the_commit(ws: Workspace) -> None:
    """On PostgreSQL two write at once: the row of the job is locked until what its holder writes is there."""
    function = labelled_function(ws, 1)
    request_build(ws, function.id)
    job = jobs.claim(ws.db, ("build",), function.id)
    assert job is not None
    with ThreadPoolExecutor(1) as elsewhere:
        with holding(ws.db, job.id, job.lease), ws.db.write() as connection:
            taking = elsewhere.submit(jobs.requeue, ws.db, job.id)
            with pytest.raises(TimeoutError):
                taking.result(1.0)
            connection.execute(update(functions).where(functions.c.id == function.id).values(training_note="in time"))
        taking.result(30)
    assert jobs.get_job(ws.db, job.id).state == "queued"
    with holding(ws.db, job.id, job.lease), pytest.raises(JobTakenOver):
        set_training_note(ws.db, function.id, "too late")
    assert get_function(ws.db, function.id).training_note == "in time"


def test_a_server_without_a_worker_leaves_the_work_to_those_that_are_started_by_hand(tmp_path: Path) -> None:
    server = AppServer(tmp_path, {**SETTINGS, "DETECTOR_WORKER": "none", "DETECTOR_BACKBONE": "efficientnet-lite0"})
    by_hand = WorkerProcesses(tmp_path / "logs", environment(server.workspace.settings.data_dir, **SETTINGS))
    try:
        ws = server.workspace
        function = labelled_function(ws, 8)
        job_id = request_build(ws, function.id)
        time.sleep(5)
        assert jobs.get_job(ws.db, job_id).state == "queued"
        assert not psutil.Process(server.pid).children()
        by_hand.start(1, "--kinds", "build", "--once")
        until(lambda: jobs.get_job(ws.db, job_id).state == "done", "a worker started by hand does it")
    finally:
        by_hand.stop()
        server.stop()


def _owners_of_tasks(ws: Workspace) -> set[str]:
    with ws.db.read() as connection:
        return set(connection.scalars(select(tasks.c.owner).where(tasks.c.state == "running")))
