"""Several ``worker`` processes share one build: killed at any moment, started again, stopped in order."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from detector.jobs import request_build
from detector.storage import jobs
from detector.storage.schema import tasks
from detector.storage.tasks import count_tasks
from detector.storage.workers import live_workers
from detector.workspace import Workspace
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

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("workers")) as address:
        yield address


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
    expected = train_alone(alone, labelled_function(alone, 150))
    function = labelled_function(ws, 150)
    workers.start(3)
    until(lambda: len(live_workers(ws.db)) == 3, "three workers are there")
    job_id = request_build(ws, function.id)
    owners: set[str] = set()

    def has(images: int) -> bool:
        owners.update(_owners_of_tasks(ws))
        return embedded(ws) >= images

    for reached in (30, 90, 150):
        until(partial(has, reached), f"{reached} images are embedded")
        time.sleep(moments.uniform(0, 2))
        workers.end(moments.randrange(3))
        workers.start(1)
    until(lambda: jobs.get_job(ws.db, job_id).state == "done", "the job ends")
    assert (embedded(ws), images_embedded(ws), failed(ws)) == (300, 300, 0)
    assert stored_embeddings(ws) == stored_embeddings(alone)
    assert live_model_file(ws, function) == expected
    assert count_tasks(ws.db) == {}
    assert len(owners) > 1, "nobody took a piece of another's work"
    assert "Traceback" not in workers.log()


def _owners_of_tasks(ws: Workspace) -> set[str]:
    with ws.db.read() as connection:
        return set(connection.scalars(select(tasks.c.owner).where(tasks.c.state == "running")))
