"""A backup put back into an empty place, whole or not at all: whatever kinds of database and store there are."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import make_url

from detector.errors import (
    BackupDamaged,
    BackupUnusable,
    DatabaseTooNew,
    DetectorError,
    NotFound,
    StorageTrouble,
)
from detector.progress import Pace, Report, silent
from detector.settings import Settings
from detector.storage.blobs import Blobs, hash_of
from detector.storage.database import Database
from detector.storage.folder import UNFINISHED, holds_rows, logs_of, sqlite_file
from detector.storage.migrations import SCHEMA_VERSION
from detector.storage.people_schema import upkeep_runs
from detector.storage.schema import workers
from detector.storage.stores import open_blobs
from detector.storage.upkeep_runs import last_run, note_run
from detector.upkeep.archive_file import settle
from detector.upkeep.backup import Reader, require_sound
from detector.upkeep.manifest import BLOBS, DATABASE, Manifest
from detector.upkeep.probes import differing
from detector.upkeep.rows import copy_rows, count_rows
from detector.workspace import Workspace

_ROOM_TO_WORK = 20_000_000
#: Folders of a store.
_KINDS = ("images", "models", "neighbours")


@dataclass(frozen=True)
class Restored:
    """``tables``: rows by table, as they are now; ``byte_count``: of the files that were written."""

    manifest: Manifest
    tables: dict[str, int]
    byte_count: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """For ``--json`` and the note in the database."""
        return {
            "made": self.manifest.created,
            "version": self.manifest.version,
            "schema": self.manifest.schema,
            "bytes": self.byte_count,
            "tables": {name: rows for name, rows in self.tables.items() if rows},
            "lost": dict(self.manifest.lost),
            "lost_models": dict(self.manifest.lost_models),
            "in_place": self.manifest.in_place,
            "predictions": len(self.manifest.probes),
            "seconds": round(self.seconds, 1),
        }


def restore(reader: Reader, settings: Settings, report: Report = silent) -> Restored:
    """Put a backup into the data folder, database and store that ``settings`` name, which must be empty.

    Every byte of the backup is verified before anything is written. What comes last is the database: who is killed
    before leaves a place that this can be repeated for, and that nothing else opens.

    Raises
    ------
    BackupDamaged, BackupUnusable
        Nothing was written, or what was is removed again.
    InvalidInput, StoreUnavailable, StorageTrouble
        Database or store cannot be used.
    """
    start = time.monotonic()
    report("verify", 0, 0, "Verifying the backup", None)
    manifest = reader.verify()
    folder = settings.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    blobs = open_blobs(settings.store, folder, settings.store_cache_mb)
    blobs.check()
    goes_on = _goes_on(folder, manifest, blobs)
    _require_empty(settings, blobs, goes_on)
    _require_room(settings, manifest)
    mark = folder / UNFINISHED
    mark.write_text("A restore was not finished here. Run it again.\n", encoding="utf-8")
    try:
        with tempfile.TemporaryDirectory(prefix="restore-", dir=folder) as made:
            database = Path(made, "detector.sqlite")
            reader.extract(DATABASE, database)
            require_sound(database, reader.name)
            tables = _upgraded(database, manifest, reader.name)
            _write_blobs(reader, manifest, blobs, report)
            _put_database(database, settings, report)
    except BaseException:
        with suppress(DetectorError, OSError):
            if not goes_on and not _has_database(settings):
                _take_back(manifest, blobs)
                mark.unlink(missing_ok=True)
        raise
    # The database came last: it is whole, whatever is still to be compared.
    mark.unlink(missing_ok=True)
    with closing(Workspace.open(settings)) as ws:
        with ws.db.read() as connection:
            found = count_rows(connection)
        if found != tables:
            raise BackupUnusable(
                "After the restore the database has other numbers of rows than the backup. Keep the backup, and report "
                "this."
            )
        if wrong := differing(ws, manifest.probes):
            raise BackupUnusable(
                f"Everything was restored, but the model of function {wrong[0]} says something else here than where "
                "the backup was made. Train it again, and report this."
            )
        done = Restored(manifest, found, manifest.byte_count, time.monotonic() - start)
        note_run(ws.db, "restore", True, done.to_json())
    return done


def _upgraded(database: Path, manifest: Manifest, name: str) -> dict[str, int]:
    """Bring the tables of an older version up to date; returns how many rows they have."""
    try:
        with closing(Database(f"sqlite:///{database}")) as db:
            if manifest.schema < SCHEMA_VERSION:
                _forget_copy(db)
            with db.read() as connection:
                found = count_rows(connection)
    except (DatabaseTooNew, StorageTrouble) as error:
        raise BackupDamaged(name, DATABASE) from error
    wrong = [
        table
        for table, rows in manifest.tables.items()
        # An upgrade writes down that it was made.
        if table != "upkeep_runs" and table in found and found[table] != rows
    ]
    if wrong:
        raise BackupDamaged(name, DATABASE)
    return found


def _forget_copy(db: Database) -> None:
    """The copy that was made before the upgrade is gone with the folder where it was made: the backup is the copy."""
    last = last_run(db, "upgrade")
    if last is not None:
        newest = select(func.max(upkeep_runs.c.sequence)).where(upkeep_runs.c.kind == "upgrade").scalar_subquery()
        with db.write() as connection:
            connection.execute(
                update(upkeep_runs).where(upkeep_runs.c.sequence == newest).values(facts={**last.facts, "copy": None})
            )


def _write_blobs(reader: Reader, manifest: Manifest, blobs: Blobs, report: Report) -> None:
    names = [name for name in manifest.members if name.startswith(BLOBS)]
    pace = Pace(report, "files", len(names), "Putting files back")
    for number, name in enumerate(names, 1):
        data, stored = reader.read(name), name.removeprefix(BLOBS)
        image_hash = hash_of(stored)
        if image_hash is None:
            blobs.put(stored, data)
        elif manifest.members[name].sha256 != image_hash:
            raise BackupDamaged(reader.name, name)
        else:
            blobs.put_image(image_hash, data)
        pace.at(number)


def _put_database(database: Path, settings: Settings, report: Report) -> None:
    target = sqlite_file(settings.url)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The next to last step, and one of the system: there, or not there.
        if target.parent.stat().st_dev != database.stat().st_dev:
            beside = target.with_name(f"{target.name}.restored")
            shutil.copyfile(database, beside)
            database = beside
        try:
            with database.open("rb+") as written:
                os.fsync(written.fileno())
            database.replace(target)
        except OSError:
            if database.name.endswith(".restored"):
                database.unlink(missing_ok=True)
            raise
        settle(target.parent)
        return
    with (
        closing(Database(f"sqlite:///{database}")) as source,
        closing(Database(settings.url)) as db,
        source.read() as given,
        db.write() as connection,
    ):
        connection.execute(workers.delete())
        if copy_rows(given, connection, report, "Writing the database") != count_rows(connection):
            # Before it is committed: nothing of it stays.
            raise BackupUnusable("The database took other numbers of rows than the backup has. Nothing was restored.")


def _has_database(settings: Settings) -> bool:
    target = sqlite_file(settings.url)
    return _has_rows(settings) if target is None else target.exists() and target.stat().st_size > 0


def _require_empty(settings: Settings, blobs: Blobs, goes_on: bool) -> None:
    where = ""
    target = sqlite_file(settings.url)
    # SQLite would play an old log into the database that is put beside it.
    logs = [path for path in logs_of(target) if path.exists()] if target is not None else []
    if logs:
        where = f"The place of the database, where {logs[0]} of another one lies,"
    elif _has_database(settings):
        where = f"The database {target or make_url(settings.url).render_as_string(hide_password=True)}"
    if not where and not goes_on and (kinds := blobs.kinds()) is not None:
        where = f"{blobs.place}, which holds {kinds},"
    if where:
        raise BackupUnusable(
            f"{where} is not empty, and a backup is only put into an empty place. Nothing was changed. Name another "
            "data folder in DETECTOR_DATA_DIR (and another DETECTOR_DATABASE_URL or DETECTOR_STORE where they are "
            "used), or move away what is there."
        )


def _has_rows(settings: Settings) -> bool:
    with closing(Database(settings.url)) as db:
        return holds_rows(db)


def _goes_on(folder: Path, manifest: Manifest, blobs: Blobs) -> bool:
    """Whether a restore of this backup was killed here: then what it has put into the store may lie there.

    Nothing is removed: a mark that stayed may be old, and the store by now that of somebody else.
    """
    if not (folder / UNFINISHED).exists():
        return False
    for left in folder.glob("restore-*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
    return all(BLOBS + file.name in manifest.members for kind in _KINDS for file in blobs.files(kind))


def _take_back(manifest: Manifest, blobs: Blobs) -> None:
    """Remove what was put into a store that was empty before."""
    for name in manifest.members:
        if name.startswith(BLOBS):
            with suppress(NotFound):
                blobs.delete(name.removeprefix(BLOBS))


def _require_room(settings: Settings, manifest: Manifest) -> None:
    database = manifest.members[DATABASE].byte_count
    needed = (database if settings.store else manifest.byte_count) + database + _ROOM_TO_WORK
    if manifest.schema < SCHEMA_VERSION:
        # An upgrade copies it, and needs room to work.
        needed += 3 * database
    free = shutil.disk_usage(settings.data_dir).free
    if free < needed:
        raise BackupUnusable(
            f"The disk of the data folder has room for {free / 1e6:,.0f} MB, and the backup takes "
            f"{needed / 1e6:,.0f} MB there. Nothing was written. Make room, or name another data folder in "
            "DETECTOR_DATA_DIR."
        )
