"""Databases of all versions that were in somebody's hands are upgraded whole, or are found as they were.

They lie in ``tests/stored_data``, each made by the code of its time (``make_schemas.py``), and beside it what it holds.
"""

from __future__ import annotations

import gzip
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine

from detector.errors import DatabaseTooNew, NoRoomForUpgrade, UpgradeLostRows
from detector.storage import upgrade
from detector.storage.database import SCHEMA_VERSION, Database
from detector.storage.migrations import MIGRATIONS
from detector.storage.upgrade import COPIES_KEPT, copies_of

STORED = Path(__file__).resolve().parents[1] / "stored_data"
VERSIONS = sorted(int(path.name.split("_")[1].split(".")[0]) for path in STORED.glob("schema_*.sqlite.gz"))
FORK = multiprocessing.get_context("fork")

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def unpack(version: int, folder: Path) -> Path:
    file = folder / "detector.sqlite"
    file.write_bytes(gzip.decompress((STORED / f"schema_{version}.sqlite.gz").read_bytes()))
    return file


def said_of(version: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((STORED / f"schema_{version}.json").read_text(encoding="utf-8"))
    return found


def opened(file: Path) -> None:
    Database(f"sqlite:///{file}").close()


def holds(file: Path) -> dict[str, Any]:
    """What the tables hold, by SQLite alone."""
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        names = [row[0] for row in tables]
        return {
            "version": int(connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0]),
            "rows": {name: connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in sorted(names)},
            "labels": dict(
                connection.execute(
                    "SELECT samples.file_name, labels.name FROM samples LEFT JOIN labels ON labels.id = label_id"
                )
            ),
            "history": [
                list(row)
                for row in connection.execute(
                    "SELECT sample_id, label_id, previous_label_id, by FROM annotation_history ORDER BY sequence"
                )
            ],
        }


def assert_whole(file: Path, version: int) -> None:
    """The database is of today, with every row of before."""
    said, found = said_of(version), holds(file)
    assert found["version"] == SCHEMA_VERSION
    assert {name: found["rows"][name] for name in said["rows"]} == said["rows"]
    assert (found["labels"], found["history"]) == (said["labels"], said["history"])
    assert found["rows"]["upkeep_runs"] == 1


def assert_as_before(file: Path, version: int) -> None:
    assert holds(file) == {"version": version, **said_of(version)}


def test_every_version_that_was_in_somebodys_hands_is_here() -> None:
    assert list(range(1, SCHEMA_VERSION)) == VERSIONS == sorted(MIGRATIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upgrade_keeps_every_row_label_and_history_and_a_copy_of_before(version: int, tmp_path: Path) -> None:
    file = unpack(version, tmp_path)
    file.chmod(0o600)
    opened(file)
    assert_whole(file, version)
    [copy] = copies_of(file)
    assert copy.name == f"detector.sqlite.before-{SCHEMA_VERSION}"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert_as_before(copy, version)
    # The way back: the copy in the place of the database.
    for ending in ("-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)
    shutil.copy(copy, file)
    assert_as_before(file, version)
    opened(file)
    assert_whole(file, version)


def test_what_was_done_and_the_way_back_is_said_and_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = unpack(VERSIONS[0], tmp_path)
    with caplog.at_level(logging.WARNING):
        opened(file)
    assert f"put detector.sqlite.before-{SCHEMA_VERSION} in the place of detector.sqlite" in caplog.text
    with closing(sqlite3.connect(file)) as connection:
        kind, ok, facts = connection.execute("SELECT kind, ok, facts FROM upkeep_runs").fetchone()
    assert (kind, ok) == ("upgrade", 1)
    assert json.loads(facts)["from"] == VERSIONS[0]
    assert json.loads(facts)["rows"] == said_of(VERSIONS[0])["rows"]
    caplog.clear()
    opened(file)
    assert "version" not in caplog.text


class Killed(BaseException):
    """As a kill, for a connection that the process outlives: everything is rolled back by the database alone."""


@contextmanager
def at_each_change(act: Callable[[], None]) -> Iterator[None]:
    """Call ``act`` before every statement that changes something, and before the commit. Those that read are none."""

    def execute(_connection: Any, _cursor: Any, statement: str, *_arguments: Any) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            act()

    def commit(_connection: Any) -> None:
        act()

    event.listen(Engine, "before_cursor_execute", execute)
    event.listen(Engine, "commit", commit)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", execute)
        event.remove(Engine, "commit", commit)


def changes_of(version: int, folder: Path) -> int:
    """How many moments there are in which a kill could make a difference."""
    seen = count()
    folder.mkdir()
    with at_each_change(lambda: next(seen)):  # type: ignore[arg-type, return-value]
        opened(unpack(version, folder))
    return next(seen)


def kill_at(file: Path, number: int) -> None:
    """In a process of its own: open the database, and be killed just before the change of that number, from 1 on."""
    seen = count(1)

    def act() -> None:
        if next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    with at_each_change(act):
        opened(file)


def try_kills(version: int, tmp_path: Path, numbers: range, resumed: int) -> None:
    """Each of these, on a database of its own; every ``resumed``-th is upgraded afterwards."""
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        file = unpack(version, folder)
        process = FORK.Process(target=kill_at, args=(file, number))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, number
        assert_as_before(file, version)
        if number % resumed == 0 or number == numbers[-1]:
            opened(file)
            assert_whole(file, version)
            assert [path.name for path in copies_of(file)] == [f"detector.sqlite.before-{SCHEMA_VERSION}"]
            assert not list(folder.glob("*.part*"))
        shutil.rmtree(folder)


@pytest.mark.slow
def test_killed_at_some_changes_of_the_longest_upgrade_it_is_as_before_and_goes_on(tmp_path: Path) -> None:
    number = changes_of(VERSIONS[0], tmp_path / "counted")
    assert number > 60
    try_kills(VERSIONS[0], tmp_path, range(1, number + 1, number // 6), 1)


@pytest.mark.long
@pytest.mark.parametrize("version", VERSIONS)
def test_killed_at_every_change_it_is_as_before_and_goes_on(version: int, tmp_path: Path) -> None:
    """Of a newer version up to the end of its own first step: those after it are the first of newer versions."""
    last = changes_of(version, tmp_path / "counted")
    if VERSIONS[0] < version < VERSIONS[-1]:
        # Both begin with what comes before all steps, and end with what comes after them.
        apart = changes_of(VERSIONS[-1], tmp_path / "newest")
        last += apart - changes_of(version + 1, tmp_path / "next")
    try_kills(version, tmp_path, range(1, last + 1), 5)


def copy_with_little_room(file: Path) -> None:
    """In a process of its own: the system kills it when a file grows beyond what this database has."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size // 2, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    opened(file)


def test_killed_while_it_copies_it_is_as_before_and_copies_anew(tmp_path: Path) -> None:
    file = unpack(VERSIONS[-1], tmp_path)
    process = FORK.Process(target=copy_with_little_room, args=(file,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGXFSZ
    assert (tmp_path / f"detector.sqlite.before-{SCHEMA_VERSION}.part").exists()
    assert copies_of(file) == []
    assert_as_before(file, VERSIONS[-1])
    opened(file)
    assert_whole(file, VERSIONS[-1])
    assert not list(tmp_path.glob("*.part*"))


def test_a_step_that_loses_rows_is_undone_and_names_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = VERSIONS[-1]
    file = unpack(version, tmp_path)
    monkeypatch.setitem(
        MIGRATIONS, version, lambda connection: connection.exec_driver_sql("DELETE FROM annotation_history")
    )
    with pytest.raises(UpgradeLostRows) as refused:
        opened(file)
    assert "annotation_history: 0 instead of" in str(refused.value)
    assert_as_before(file, version)
    monkeypatch.undo()
    opened(file)
    assert_whole(file, version)


def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = unpack(VERSIONS[-1], tmp_path)
    # More than any disk has.
    monkeypatch.setattr(upgrade, "_ROOM_TO_WORK", shutil.disk_usage(tmp_path).total)
    with pytest.raises(NoRoomForUpgrade) as refused:
        opened(file)
    assert "Nothing was changed" in str(refused.value)
    assert_as_before(file, VERSIONS[-1])
    assert copies_of(file) == []


def test_only_the_newest_copies_stay(tmp_path: Path) -> None:
    file = unpack(VERSIONS[-1], tmp_path)
    for age, version in enumerate((9, 8, 7, 6)):
        old = file.with_name(f"{file.name}.before-{version}")
        old.write_bytes(b"")
        os.utime(old, (1e9 - age, 1e9 - age))
    opened(file)
    assert [path.name.rpartition("-")[2] for path in copies_of(file)] == [str(SCHEMA_VERSION), "9"][:COPIES_KEPT]


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    file = unpack(VERSIONS[-1], tmp_path)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(DatabaseTooNew):
        opened(file)
    assert holds(file)["version"] == 99
    assert copies_of(file) == []


@pytest.mark.postgresql
def test_a_servers_database_is_upgraded_in_one_transaction_with_every_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The tables of a new database without what the last step adds: no older version runs against today's server."""
    from tests.postgres import postgres

    with postgres(tmp_path) as url:
        Database(url).close()
        engine = create_engine(url)
        with engine.begin() as connection:
            for table, column in (
                ("annotation_history", "who"),
                ("annotation_history", "undone_who"),
                ("api_keys", "role"),
                ("api_keys", "expires_at"),
                ("api_keys", "calls_per_minute"),
                ("records", "kept_by"),
            ):
                connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
            for table in ("users", "audit_log", "upkeep_runs"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
            connection.exec_driver_sql("UPDATE meta SET value = '11' WHERE key = 'schema_version'")
            connection.exec_driver_sql("INSERT INTO meta (key, value) VALUES ('kept', 'yes')")
        seen: list[str] = []

        def fail_late(_connection: Any, _cursor: Any, statement: str, *_arguments: Any) -> None:
            seen.append(statement)
            if "upkeep_runs" in statement and statement.startswith("INSERT"):
                raise Killed

        event.listen(Engine, "before_cursor_execute", fail_late)
        try:
            with pytest.raises(Killed):
                Database(url)
        finally:
            event.remove(Engine, "before_cursor_execute", fail_late)
        with engine.begin() as connection:
            assert connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'schema_version'").scalar() == "11"
        with caplog.at_level(logging.WARNING):
            Database(url).close()
        assert "pg_dump" in caplog.text
        with engine.begin() as connection:
            assert connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'kept'").scalar() == "yes"
            assert connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'schema_version'").scalar() == str(
                SCHEMA_VERSION
            )
            assert connection.exec_driver_sql("SELECT count(*) FROM upkeep_runs").scalar() == 1
        engine.dispose()
