"""A database of an older version brought up to date: copied before, counted before and after, all of it or nothing.

All steps are one transaction, so that whoever is killed in the middle of them finds the old database again. What could
go wrong beyond that, as a step that forgets something, is what the copy is for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect
from sqlalchemy.sql import quoted_name

from detector.errors import NoRoomForUpgrade, UpgradeLostRows
from detector.formatting import count
from detector.storage.migrations import MIGRATIONS, SCHEMA_VERSION
from detector.storage.people_schema import upkeep_runs
from detector.storage.schema import meta, metadata

log = logging.getLogger(__name__)

#: Each is as large as the database was; whoever went back once may want to do so again.
COPIES_KEPT = 2
#: The steps themselves need room beside the copy, for SQLite's log of them, new columns and indexes: so much, and once
#: more what the database has.
_ROOM_TO_WORK = 8_000_000
#: Pages that are copied at a time. The database is held meanwhile: nobody else writes.
_PAGES = 4096


def upgrade(connection: Connection, found: int, file: Path | None) -> str:
    """Bring the tables from version ``found`` to today's.

    Parameters
    ----------
    connection : Connection
        In a transaction that nobody else writes beside; its caller commits, or rolls back what this raises.
    found : int
        The version of the tables.
    file : Path or None
        Of an SQLite database: copied beside itself first. None where it is no file.

    Returns
    -------
    str
        What was done and the way back, for `finish_upgrade` once all this is stored.

    Raises
    ------
    NoRoomForUpgrade
        The disk has no room for the copy.
    UpgradeLostRows
        A table has fewer rows than before.
    """
    before = count_rows(connection)
    rows = f"{count(sum(before.values()), 'row')} in {count(len(before), 'table')}"
    copy = _copy(file, before) if file is not None and file.is_file() else None
    log.warning(
        "The database is brought from version %d to %d (%s). %s Until that is done it is as it was, whatever happens.",
        found,
        SCHEMA_VERSION,
        rows,
        f"A copy of it is in {copy}." if copy else "Copies of a server's database are made by its own pg_dump.",
    )
    for version in range(found, SCHEMA_VERSION):
        MIGRATIONS[version](connection)
        metadata.create_all(connection)
        connection.execute(meta.update().where(meta.c.key == "schema_version").values(value=str(version + 1)))
    after = count_rows(connection)
    lost = {name: (number, after.get(name, 0)) for name, number in before.items() if after.get(name, 0) < number}
    if lost:
        raise UpgradeLostRows(found, SCHEMA_VERSION, lost)
    connection.execute(
        upkeep_runs.insert().values(
            kind="upgrade",
            at=time.time(),
            ok=True,
            # The name alone: the folder may be another one tomorrow.
            facts={"from": found, "to": SCHEMA_VERSION, "rows": before, "copy": copy.name if copy else None},
        )
    )
    return f"Nothing was lost: {rows}. {way_back(found, file, copy)}"


def way_back(found: int, file: Path | None, copy: Path | None) -> str:
    """How to use the database with the version of before again, in two sentences."""
    if copy is None or file is None:
        return (
            f"The way back to schema {found}: stop the program, put a copy of before back with pg_restore, and start "
            "the version of the program that made it. What was stored since is not in it."
        )
    return (
        f"The way back to schema {found}: stop the program, delete {file.name}-wal and {file.name}-shm, put "
        f"{copy.name} in the place of {file.name}, and start the version of the program that was used before. What was "
        "stored since is not in it."
    )


def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    names = sorted(inspect(connection).get_table_names())
    quote = connection.dialect.identifier_preparer.quote
    return {
        name: int(connection.exec_driver_sql(f"SELECT COUNT(*) FROM {quote(quoted_name(name, None))}").scalar() or 0)
        for name in names
    }


def copies_of(file: Path) -> list[Path]:
    """The copies that were made before upgrades of an SQLite database, newest first."""
    before = f"{file.name}.before-"
    found = [path for path in file.parent.glob(f"{before}*") if path.name.removeprefix(before).isdecimal()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def finish_upgrade(file: Path | None, said: str) -> None:
    """Call when the upgrade is stored: says so, and deletes all copies but the newest."""
    log.warning("%s", said)
    if file is None:
        return
    for path in copies_of(file)[COPIES_KEPT:]:
        with contextlib.suppress(OSError):
            path.unlink()


def _copy(file: Path, rows: Mapping[str, int]) -> Path:
    """A copy of the database as it was committed last, read back. A kill leaves ``.part``, which the next try uses."""
    needed = 2 * (_size(file) + _size(file.with_name(f"{file.name}-wal"))) + _ROOM_TO_WORK
    free = shutil.disk_usage(file.parent).free
    if free < needed:
        raise NoRoomForUpgrade(needed, free)
    copy = file.with_name(f"{file.name}.before-{SCHEMA_VERSION}")
    part = copy.with_name(f"{copy.name}.part")
    for left in file.parent.glob(f"{part.name}*"):
        # Its journal too: SQLite would take that for one of the new file.
        left.unlink(missing_ok=True)
    # A connection of its own: that of the upgrade holds the right to write, and this one sees what was there before.
    with (
        closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(part)) as target,
    ):
        # Whoever may not read the database may not read its copy.
        shutil.copymode(file, part)
        source.backup(target, pages=_PAGES)
        # In one file: its log would have to be put back with it.
        target.execute("PRAGMA journal_mode=DELETE")
        found = {name: target.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for name in rows}
    if found != dict(rows):
        part.unlink(missing_ok=True)
        short = {name: (number, found[name]) for name, number in rows.items() if found[name] != number}
        raise UpgradeLostRows(None, SCHEMA_VERSION, short)
    with part.open("rb+") as written:
        os.fsync(written.fileno())
    part.replace(copy)
    return copy


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
