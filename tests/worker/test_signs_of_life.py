"""What a process says of itself while it works, and that one moment without a database ends nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import update

from detector.errors import StorageUnavailable
from detector.storage import jobs
from detector.storage.folder import sqlite_file
from detector.storage.schema import jobs as table
from detector.worker import running
from detector.worker.process import has_more
from detector.worker.runner import JobRunner
from detector.worker.running import run_pending
from tests.databases import sqlite_only
from tests.factories import labelled_function, workspace


def test_a_command_that_makes_no_progress_for_long_still_says_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind: a worker of another machine took over what a command was in the middle of."""
    monkeypatch.setattr(running, "ALIVE_SECONDS", 0.05)
    ws = workspace(tmp_path)
    function = labelled_function(ws, 2)
    job_id = jobs.enqueue(ws.db, function.id, "build")
    signs: list[float | None] = []

    def report(_phase: str, _done: int, _total: int, _message: str, _rate: float | None) -> None:
        if signs:
            return
        with ws.db.write() as connection:
            connection.execute(update(table).where(table.c.id == job_id).values(heartbeat=1.0))
        deadline = time.monotonic() + 300
        while (sign := jobs.get_job(ws.db, job_id).heartbeat) == 1.0 and time.monotonic() < deadline:
            time.sleep(0.05)
        signs.append(sign)

    run_pending(ws, function.id, report)
    assert signs
    assert signs[0] != 1.0


@sqlite_only("it is taken away")
def test_a_worker_that_ends_when_nothing_is_left_waits_for_a_database_that_is_away(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    runner = JobRunner(ws)
    assert not has_more(runner)
    file = sqlite_file(ws.settings.url)
    assert file is not None
    away = file.with_name("away")
    file.rename(away)
    with pytest.raises(StorageUnavailable):
        _ = runner.is_busy
    assert has_more(runner)
    away.rename(file)
    assert not has_more(runner)
