"""What the page Health says: of an empty folder, of one that is well, of damage, backups, workers and upgrades."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, update

from detector.storage.people_schema import upkeep_runs
from detector.storage.upkeep_runs import note_run
from detector.storage.workers import sign_worker
from detector.upkeep.background import running_check, start_check
from detector.upkeep.check import check_all
from detector.upkeep.health import ADVISED_DAYS, BACKUP_COMMAND, health
from detector.workspace import Workspace
from tests.databases import sqlite_only
from tests.factories import labelled_function
from tests.page_app import dashboard, opened_by_pages, words
from tests.upkeep.damages import DAMAGES


@pytest.fixture
def paged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with opened_by_pages(tmp_path / "data", monkeypatch) as opened:
        yield opened


def _later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_of_an_empty_folder_it_says_that_nobody_has_looked_and_that_there_is_no_backup(paged: Workspace) -> None:
    app = dashboard("health.py")
    assert not app.error
    assert [title.value for title in app.title] == ["Health"]
    assert "Nobody has looked yet" in words(app)
    assert "There is no backup yet" in words(app)
    assert [code.value for code in app.code] == [BACKUP_COMMAND]
    assert [button.label for button in app.main.button] == ["Check now", "Quick look"]


@pytest.mark.slow
def test_check_now_checks_in_the_background_and_the_page_says_what_came_of_it(paged: Workspace) -> None:
    labelled_function(paged, 2, "Press *photos*")
    DAMAGES["a picture is lost"].do(paged, np.random.default_rng(1))
    app = dashboard("health.py")
    next(button for button in app.main.button if button.label == "Check now").click()
    app.run()
    assert not app.exception
    end = time.monotonic() + 300
    while running_check(paged) is not None:
        assert time.monotonic() < end
        time.sleep(0.05)
    app.run()
    told = words(app)
    assert "its bytes are lost" in told
    assert "in Press *photos*" in told
    assert "not repaired" in told
    assert "No check has found everything well before" in told
    assert "Repair what is safe" in [button.label for button in app.main.button]


@sqlite_only("it is damaged so that a table is missing")
def test_a_database_without_one_of_its_tables_is_named_as_damaged(paged: Workspace) -> None:
    paged.db.close()
    with paged.db.write() as connection:
        connection.exec_driver_sql("ALTER TABLE thumbnails RENAME TO away")
    thread = start_check(paged)
    assert thread is not None
    thread.join(60)
    found = health(paged).check
    assert found.ok is False
    assert "The database is damaged" in " ".join(problem.what for problem in found.problems)
    with paged.db.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO thumbnails")


def test_it_says_since_when_something_is_wrong(paged: Workspace) -> None:
    labelled_function(paged, 2)
    assert check_all(paged).ok
    assert health(paged).check.title == "Everything is well"
    assert health(paged).check.advice == ""
    assert "It is time for another check" in health(paged, _later(ADVISED_DAYS + 1)).check.advice
    DAMAGES["a picture is lost"].do(paged, np.random.default_rng(1))
    assert not check_all(paged, quick=True).ok
    found = health(paged).check
    assert found.title == "1 problem left"
    assert "Everything was well on" in found.told
    assert "all bytes were read" in found.told


def test_it_says_when_the_last_backup_was_and_whether_it_is_good(paged: Workspace) -> None:
    note_run(paged.db, "backup", True, {"bytes": 12_300_000, "verified": True})
    found = health(paged)
    assert found.backup_ok
    assert "12 MB" in found.backup
    assert "read back and compared" in found.backup
    old = health(paged, _later(ADVISED_DAYS + 1))
    assert not old.backup_ok
    assert "in no backup" in old.backup
    note_run(paged.db, "backup", False, {})
    assert not health(paged).backup_ok
    assert "is not complete" in health(paged).backup


def test_it_says_which_workers_give_a_sign_and_what_was_upgraded(paged: Workspace) -> None:
    sign_worker(paged.db, ["import", "build"])
    with paged.db.write() as connection:
        facts = {"from": 6, "to": 12, "rows": {}, "copy": "detector.sqlite.before-12"}
        connection.execute(insert(upkeep_runs).values(kind="upgrade", at=0.0, ok=True, facts=facts))
    found = health(paged)
    [worker] = found.workers
    assert worker.lives
    assert worker.sign == "just now"
    assert "from schema 6 to 12" in found.upgrade
    assert "detector.sqlite.before-12" in found.upgrade
    told = words(dashboard("health.py"))
    assert "Last sign just now" in told


def test_a_run_with_facts_of_another_version_is_shown_all_the_same(paged: Workspace) -> None:
    for kind in ("check", "backup", "restore", "upgrade"):
        note_run(paged.db, kind, False, {"something": "else"})
    with paged.db.write() as connection:
        connection.execute(update(upkeep_runs).values(at=1.0))
    assert health(paged).check.problems == ()
    assert not dashboard("health.py").error
