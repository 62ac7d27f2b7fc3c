"""The database at one moment, in an SQLite file of its own, while others go on writing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from sqlalchemy import Column, Connection, create_engine, delete, event, insert, select, update

from detector.jobs import IMPORT, INVOKE
from detector.progress import Pace, Report
from detector.storage.database import Database, now
from detector.storage.folder import sqlite_file
from detector.storage.leavings import LEAVINGS
from detector.storage.migrations import SCHEMA_VERSION
from detector.storage.people_schema import upkeep_runs
from detector.storage.revisions import next_revision
from detector.storage.schema import (
    functions,
    images,
    import_batches,
    invoke_runs,
    jobs,
    meta,
    metadata,
    models,
    samples,
    tasks,
    workers,
)
from detector.upkeep.rows import copy_rows

#: What ``meta`` keeps in a backup, beside what is still to be removed: all else in it is a secret, or says which server
#: this is.
_KEPT_IN_META = "schema_version"
_PAGES = 2048
_CHUNK = 500
_NOT_HERE = "Its files were not part of the backup that was restored. Import them again."


def take_snapshot(db: Database, url: str, target: Path, report: Report) -> None:
    """Write what was committed last to a new file, without secrets, workers and what hangs on files that wait.

    Raises StorageTrouble, OSError.
    """
    source = sqlite_file(url)
    if source is not None:
        _copy_file(source, target, report)
    else:
        _copy_server(db, target, report)
    with changing(target) as connection:
        secret = meta.c.key != _KEPT_IN_META, ~meta.c.key.startswith(LEAVINGS)
        connection.execute(delete(meta).where(*secret))
        connection.execute(delete(tasks))
        # They looked at this disk, and say nothing of another.
        connection.execute(delete(upkeep_runs).where(upkeep_runs.c.kind == "check"))
        connection.execute(delete(workers))
        _end_waiting(connection)


@contextlib.contextmanager
def changing(path: Path):  # type: ignore[no-untyped-def]
    """A connection to a snapshot, in a transaction; nothing of what is deleted stays in the file."""
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _prepare)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def drop_deleted(snapshot: Path, db: Database, hashes: Collection[str], model_ids: Collection[str]) -> set[str]:
    """Let the snapshot follow deletions that came after it, whose bytes are gone; returns the hashes that are none.

    Parameters
    ----------
    hashes : collection of str
        Of images whose bytes were not there.
    model_ids : collection of str
        Of models without a file.
    """
    if not hashes and not model_ids:
        return set()
    with db.read() as connection:
        there = still_there(connection, images.c.hash, hashes)
        live = still_there(connection, models.c.id, model_ids)
        functions_there = set(connection.scalars(select(functions.c.id)))
    with changing(snapshot) as connection:
        gone = set(connection.scalars(select(functions.c.id))) - functions_there
        for function_id in sorted(gone):
            connection.execute(delete(functions).where(functions.c.id == function_id))
        for model_id in sorted(set(model_ids) - live):
            connection.execute(delete(models).where(models.c.id == model_id))
        deleted = sorted(set(hashes) - there)
        for start in range(0, len(deleted), _CHUNK):
            chunk = deleted[start : start + _CHUNK]
            touched = select(samples.c.function_id).where(samples.c.image_hash.in_(chunk)).distinct()
            for function_id in list(connection.scalars(touched)):
                # Counts that are kept by it are made anew.
                moment = next_revision(connection, function_id)
                connection.execute(update(functions).where(functions.c.id == function_id).values(purge_revision=moment))
            connection.execute(delete(samples).where(samples.c.image_hash.in_(chunk)))
            connection.execute(delete(images).where(images.c.hash.in_(chunk)))
    return there


def still_there(connection: Connection, column: Column[str], values: Collection[str]) -> set[str]:
    """Which of some values a column has."""
    asked, found = sorted(values), set[str]()
    for start in range(0, len(asked), _CHUNK):
        found |= set(connection.scalars(select(column).where(column.in_(asked[start : start + _CHUNK]))))
    return found


def _copy_file(source: Path, target: Path, report: Report) -> None:
    with (
        closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=60)) as database,
        closing(sqlite3.connect(target)) as copy,
    ):
        # One state from here on, or SQLite would begin anew with every write of others.
        database.execute("BEGIN")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        pace: Pace | None = None

        def progress(_status: int, left: int, total: int) -> None:
            nonlocal pace
            pace = pace or Pace(report, "database", total, "Copying the database")
            pace.at(total - left)

        database.backup(copy, pages=_PAGES, progress=progress)
        copy.execute("PRAGMA journal_mode=DELETE")


def _copy_server(db: Database, target: Path, report: Report) -> None:
    with changing(target) as copy:
        metadata.create_all(copy)
        copy.execute(insert(meta).values(key="schema_version", value=str(SCHEMA_VERSION)))
        with db.read() as source:
            copy_rows(source, copy, report, "Copying the database")


def _end_waiting(connection: Connection) -> None:
    """Builds and audits go on after a restore; what reads files that only lie here has ended."""
    running = jobs.c.state.in_(("queued", "running"))
    of_files = jobs.c.kind.in_((IMPORT, INVOKE))
    moment = now()
    connection.execute(
        update(jobs).where(running, of_files).values(state="failed", message=_NOT_HERE, finished_at=moment)
    )
    connection.execute(
        update(jobs).where(running).values(state="queued", owner=None, lease=None, heartbeat=None, started_at=None)
    )
    for table in (import_batches, invoke_runs):
        connection.execute(
            update(table).where(table.c.state == "running").values(state="failed", note=_NOT_HERE, finished_at=moment)
        )


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # One file, whatever it was before.
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")
    # It came from a file: nothing in it may run.
    connection.execute("PRAGMA trusted_schema=OFF")
