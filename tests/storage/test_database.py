"""The schema's version, transactions, and the secret that signs addresses."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import IntegrityError

from detector.errors import DatabaseTooNew, StorageUnavailable
from detector.storage import database
from detector.storage.database import SCHEMA_VERSION, Database, new_id
from detector.storage.schema import labels, meta, metadata


def _open(folder: Path) -> Database:
    return Database(f"sqlite:///{folder / 'deep' / 'detector.sqlite'}")


def test_a_new_database_has_all_tables_and_the_version_of_this_program(tmp_path: Path) -> None:
    db = _open(tmp_path)
    assert set(metadata.tables) <= set(inspect(db.engine).get_table_names())
    with db.read() as connection:
        found = connection.scalar(select(meta.c.value).where(meta.c.key == "schema_version"))
    assert found == str(SCHEMA_VERSION)


def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    db = _open(tmp_path)
    newer = str(SCHEMA_VERSION + 3)
    with db.write() as connection:
        connection.execute(meta.update().where(meta.c.key == "schema_version").values(value=newer))
    db.close()
    with pytest.raises(DatabaseTooNew) as caught:
        _open(tmp_path)
    assert (caught.value.found, caught.value.supported) == (SCHEMA_VERSION + 3, SCHEMA_VERSION)
    assert "newer version" in str(caught.value)


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    first = _open(tmp_path)
    secret = first.secret("signing_key")
    first.close()
    again = _open(tmp_path)
    assert again.secret("signing_key") == secret
    assert again.secret("another") != secret


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    db = _open(tmp_path)

    def half() -> None:
        with db.write() as connection:
            connection.execute(meta.insert().values(key="half", value="done"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    with db.read() as connection:
        assert connection.scalar(select(meta.c.value).where(meta.c.key == "half")) is None


def test_foreign_keys_are_checked(tmp_path: Path) -> None:
    db = _open(tmp_path)
    with pytest.raises(IntegrityError), db.write() as connection:
        connection.execute(labels.insert().values(id=new_id(), function_id="none", name="real", position=0))


def test_sqlite_runs_with_a_write_ahead_log_and_full_sync(tmp_path: Path) -> None:
    with _open(tmp_path).read() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2


def test_writers_that_read_first_wait_for_each_other(tmp_path: Path) -> None:
    """Read, then write, in many threads: with SQLite's deferred transactions this fails with "database is locked"."""
    db = _open(tmp_path)
    with db.write() as connection:
        connection.execute(meta.insert().values(key="count", value="0"))

    def add(times: int) -> None:
        for _ in range(times):
            with db.write() as connection:
                value = int(connection.scalar(select(meta.c.value).where(meta.c.key == "count")) or 0)
                connection.execute(meta.update().where(meta.c.key == "count").values(value=str(value + 1)))

    threads = [threading.Thread(target=add, args=(10,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as connection:
        assert connection.scalar(select(meta.c.value).where(meta.c.key == "count")) == "40"


def test_a_reader_sees_one_state_while_another_writes(tmp_path: Path) -> None:
    db = _open(tmp_path)
    with db.read() as reader:
        before = reader.scalar(text("SELECT count(*) FROM meta"))
        with db.write() as writer:
            writer.execute(meta.insert().values(key="new", value="1"))
        assert reader.scalar(text("SELECT count(*) FROM meta")) == before
    with db.read() as reader:
        assert reader.scalar(text("SELECT count(*) FROM meta")) == before + 1


@pytest.mark.slow
def test_who_waits_for_a_database_that_another_program_holds_does_not_wait_for_those_before_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind: another program holds the database for minutes. Each writer waited its minute after the other, and a
    request behind three of them was never answered."""
    waiting, writers = 0.4, 20
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", waiting)
    db = Database(f"sqlite:///{tmp_path / 'held.sqlite'}")
    refused: list[str] = []

    def write() -> None:
        with pytest.raises(StorageUnavailable) as caught, db.write():
            pass
        refused.append(caught.value.why)

    with contextlib.closing(sqlite3.connect(tmp_path / "held.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=write) for _ in range(writers)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - start
    assert refused == ["database is locked"] * writers
    assert took < waiting * writers / 2
    with db.write():
        pass
    db.close()
