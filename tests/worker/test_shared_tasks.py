"""A helper that takes pieces of other workers' jobs: what becomes of a piece while the database is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detector.serving.shared_task import At, SharedWork
from detector.storage import jobs, tasks
from detector.storage.folder import sqlite_file
from detector.worker.shared_tasks import WORKS, TaskTaker
from detector.workspace import Workspace
from tests.databases import sqlite_only
from tests.factories import empty_function, workspace
from tests.task_counts import count_tasks


@sqlite_only("it is taken away")
def test_a_task_that_cannot_be_given_back_while_the_database_is_away_is_given_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = workspace(tmp_path)
    file = sqlite_file(ws.settings.url)
    assert file is not None
    away = file.with_name("away")

    def run(_ws: Workspace, _parameters: dict[str, Any], _items: list[Any], at: At) -> dict[str, Any]:
        file.rename(away)
        at(0)
        raise AssertionError("a sign could be written without a database")

    monkeypatch.setitem(WORKS, "a test's", SharedWork("a test's", run))
    jobs.enqueue(ws.db, empty_function(ws).id, "build")
    job = jobs.claim(ws.db, ("build",))
    assert job is not None
    tasks.put_task(ws.db, job.id, 0, "a test's", {}, ["item"])
    taker = TaskTaker(ws)
    task = taker.take([])
    assert task is not None
    taker.do(task, lambda: None)
    taker.give_back_kept()
    away.rename(file)
    assert count_tasks(ws.db) == {"running": 1}
    taker.give_back_kept()
    assert count_tasks(ws.db) == {"queued": 1}
    again = tasks.take_task(ws.db)
    assert again is not None
    # The task is not to blame.
    assert again.deaths == 0
