"""Making a backup while the program runs: one state of the database, every file that it names, read back at the end."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import exists, func, select

import detector
from detector.errors import BackupDamaged, BackupUnusable, NotFound, StorageTrouble, StoredFileDamaged
from detector.progress import Pace, Report, silent
from detector.settings import Settings
from detector.storage.blobs import SET_ASIDE, Blobs, image_name
from detector.storage.database import now
from detector.storage.folder import BLOBS as BLOBS_FOLDER
from detector.storage.folder_blobs import FolderBlobs
from detector.storage.migrations import SCHEMA_VERSION
from detector.storage.room import database_bytes
from detector.storage.schema import images, metadata, models, places
from detector.storage.upkeep_runs import note_run
from detector.upkeep.archive_file import FileReader, FileWriter
from detector.upkeep.archive_folder import FolderReader, FolderWriter
from detector.upkeep.manifest import BLOBS, DATABASE, Manifest, Probe
from detector.upkeep.probes import differing, make_probes, unusable_models
from detector.upkeep.rows import count_rows
from detector.upkeep.snapshot import changing, drop_deleted, still_there, take_snapshot
from detector.workspace import Workspace

log = logging.getLogger(__name__)

Writer = FileWriter | FolderWriter
Reader = FileReader | FolderReader

#: Folders of the store beside that of pictures.
_OTHER_FOLDERS = ("models", "neighbours")
_ROOM_TO_WORK = 20_000_000
_LEFT_SECONDS = 86_400
_TRIES, _MOMENT = 4, 0.5


@dataclass(frozen=True)
class BackedUp:
    """
    Attributes
    ----------
    path : the file, or the folder of backups
    byte_count : of the file; of what was new in the folder
    manifest : what is in it
    seconds : how long it took
    """

    path: Path
    byte_count: int
    manifest: Manifest
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """For ``--json`` and the note in the database."""
        return {
            "path": self.path.name,
            "bytes": self.byte_count,
            "files": len(self.manifest.members),
            "tables": {name: rows for name, rows in self.manifest.tables.items() if rows},
            "lost": dict(self.manifest.lost),
            "lost_models": dict(self.manifest.lost_models),
            "in_place": self.manifest.in_place,
            "predictions": len(self.manifest.probes),
            "seconds": round(self.seconds, 1),
        }


def back_up(ws: Workspace, writer: Writer, with_places: bool = False, report: Report = silent) -> BackedUp:
    """Make a backup; others may go on reading and writing meanwhile.

    What was deleted after it began is left out of it; what was added after it began comes with the next one.

    Parameters
    ----------
    with_places : bool
        Also the bytes of pictures that were imported in place.

    Raises
    ------
    BackupUnusable
        There is no room for it, or what was read back is not what was written. Nothing is left behind.
    """
    start = time.monotonic()
    place = writer.path.parent
    if isinstance(writer, FolderWriter):
        place = writer.path
        place.mkdir(parents=True, exist_ok=True)
    _remove_left(ws.spool)
    _require_room(ws, place)
    with writer, tempfile.TemporaryDirectory(prefix="backup-", dir=ws.spool) as made:
        snapshot = Path(made, "detector.sqlite")
        take_snapshot(ws.db, ws.settings.url, snapshot, report)
        created = now()
        lost, in_place = _write_images(ws, writer, snapshot, with_places, report)
        _write_others(ws, writer, snapshot)
        probes, lost_models = _probes(snapshot, writer, ws)
        with changing(snapshot) as connection:
            tables = count_rows(connection)
        writer.add_file(DATABASE, snapshot)
        manifest = Manifest(
            detector.__version__,
            SCHEMA_VERSION,
            created,
            tables,
            dict(writer.members),
            _numbers(ws.settings),
            lost,
            lost_models,
            in_place,
            probes,
        )
        writer.finish(manifest)
        snapshot.unlink()
        with writer.written() as reader:
            report("verify", 0, 0, "Reading the backup back", None)
            read_back(reader, Path(made), manifest)
        done = BackedUp(writer.path, writer.keep(), manifest, time.monotonic() - start)
    try:
        note_run(ws.db, "backup", manifest.whole, done.to_json())
    except StorageTrouble as error:
        # The backup is there all the same.
        log.warning("that a backup was made could not be written down: %s", error)
    return done


def _numbers(settings: Settings) -> dict[str, Any]:
    """Limits and switches. Not what is text: that may be a secret, a name or a place of this machine."""
    values = {item.name: getattr(settings, item.name) for item in fields(Settings)}
    return {name: value for name, value in values.items() if isinstance(value, (bool, int, float))}


def read_back(reader: Reader, scratch: Path, expected: Manifest) -> None:
    """Compare a backup that was just written with what was meant: bytes, rows, and what its models say.

    Raises BackupUnusable.
    """
    manifest = reader.verify()
    if manifest != expected:
        raise BackupDamaged(reader.name, "the manifest")
    if isinstance(reader, FileReader):
        for name in manifest.members:
            if name != DATABASE:
                reader.read(name)
    with opened(reader, manifest, scratch) as ws:
        with ws.db.read() as connection:
            found = count_rows(connection)
        if found != dict(manifest.tables):
            raise BackupDamaged(reader.name, DATABASE)
        if wrong := differing(ws, manifest.probes):
            raise BackupUnusable(
                f"The backup {reader.name} was not kept: read back from it, the model of function {wrong[0]} says "
                "something else than here. Run python -m detector check."
            )


@contextmanager
def opened(reader: Reader, manifest: Manifest, scratch: Path) -> Iterator[Workspace]:
    """The database and the models of a verified backup as a data folder without pictures, below ``scratch``.

    Raises BackupDamaged.
    """
    folder = scratch / "read-back"
    folder.mkdir()
    try:
        database = folder / "detector.sqlite"
        reader.extract(DATABASE, database)
        require_sound(database, reader.name)
        blobs = FolderBlobs(folder / BLOBS_FOLDER)
        for name in manifest.members:
            if name.startswith(f"{BLOBS}models/"):
                blobs.put(name.removeprefix(BLOBS), reader.read(name))
        with closing(Workspace.open(Settings(data_dir=folder))) as ws:
            yield ws
    except StorageTrouble as error:
        raise BackupDamaged(reader.name, DATABASE) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_sound(database: Path, name: str) -> None:
    """Refuse a database file that is damaged, or has anything in it that runs by itself. Raises BackupDamaged."""
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            kinds = {row[0] for row in connection.execute("SELECT DISTINCT type FROM sqlite_master")}
            ours = _is_ours(connection)
            sound = connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
            whole = connection.execute("PRAGMA foreign_key_check").fetchone() is None
    except sqlite3.Error as error:
        raise BackupDamaged(name, DATABASE) from error
    if kinds - {"table", "index"} or not ours or not sound or not whole:
        raise BackupDamaged(name, DATABASE)


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Whether there are only tables that some version of the program made, of plain columns."""
    known = set(metadata.tables)
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if table.startswith("sqlite_"):
            continue
        # A column that is worked out from others, or hidden as in virtual tables.
        hidden = connection.execute("SELECT count(*) FROM pragma_table_xinfo(?) WHERE hidden != 0", (table,)).fetchone()
        if table not in known or hidden[0]:
            return False
    for (index,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall():
        worked_out = connection.execute("SELECT count(*) FROM pragma_index_xinfo(?) WHERE cid = -2", (index,))
        if worked_out.fetchone()[0]:
            return False
    return True


def _remove_left(spool: Path) -> None:
    """Copies of the database that backups left which were killed; a day old, since others may be at work now."""
    for folder in spool.glob("backup-*"):
        with suppress(OSError):
            if folder.is_dir() and not folder.is_symlink() and time.time() - folder.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _require_room(ws: Workspace, place: Path) -> None:
    with ws.db.read() as connection:
        pictures = int(connection.scalar(select(func.coalesce(func.sum(images.c.byte_count), 0))) or 0)
        database = database_bytes(connection)
    free_here = shutil.disk_usage(ws.spool).free
    # Twice: the copy, and its being read back.
    for free, needed, where in (
        (free_here, 2 * database + _ROOM_TO_WORK, "data folder"),
        (shutil.disk_usage(place).free, _needed(place, ws, pictures, database), "backup"),
    ):
        if free < needed:
            raise BackupUnusable(
                f"The disk of the {where} has room for {free / 1e6:,.0f} MB, and a backup takes up to "
                f"{needed / 1e6:,.0f} MB there. Nothing was written. Make room, or name a place on another disk."
            )


def _needed(place: Path, ws: Workspace, pictures: int, database: int) -> int:
    if (place / "backups").is_dir():
        # Most of it is there already; a disk that gets full on the way ends the backup and harms nothing.
        return database + _ROOM_TO_WORK
    same = place.stat().st_dev == ws.spool.stat().st_dev
    return pictures + (3 if same else 1) * database + _ROOM_TO_WORK


def _write_images(
    ws: Workspace, writer: Writer, snapshot: Path, with_places: bool, report: Report
) -> tuple[dict[str, str], int]:
    """Returns the pictures whose bytes cannot be had, with the reason, and how many lie elsewhere."""
    with changing(snapshot) as connection:
        in_place = exists().where(places.c.image_hash == images.c.hash)
        rows = connection.execute(select(images.c.hash, in_place).order_by(images.c.hash)).all()
    elsewhere = {image_hash for image_hash, placed in rows if placed}
    wanted = [image_hash for image_hash, _ in rows]
    blobs = ws.blobs if with_places else ws.blobs.stored
    pace = Pace(report, "images", len(wanted), "Copying pictures")
    failed: dict[str, str] = {}
    skipped = 0
    for number, (image_hash, read) in enumerate(blobs.readers(wanted), 1):
        try:
            data = read()
        except (NotFound, StoredFileDamaged) as error:
            if image_hash in elsewhere and not with_places:
                skipped += 1
            else:
                failed[image_hash] = str(error)
        else:
            writer.add(BLOBS + image_name(image_hash), data)
        pace.at(number)
    _try_again(ws, writer, blobs, failed)
    # Gone because their samples were deleted since: then the backup is of that moment.
    there = drop_deleted(snapshot, ws.db, failed, ())
    return {image_hash: why for image_hash, why in failed.items() if image_hash in there}, skipped


def _try_again(ws: Workspace, writer: Writer, blobs: Blobs, failed: dict[str, str]) -> None:
    """A picture that is deleted or imported again right now has a row and no bytes for a moment: wait a little."""
    for _ in range(_TRIES):
        if not failed:
            return
        time.sleep(_MOMENT)
        with ws.db.read() as connection:
            there = still_there(connection, images.c.hash, failed)
        if not there:
            return
        for image_hash in sorted(there):
            with suppress(NotFound, StoredFileDamaged):
                writer.add(BLOBS + image_name(image_hash), blobs.image(image_hash))
                del failed[image_hash]


def _write_others(ws: Workspace, writer: Writer, snapshot: Path) -> None:
    with changing(snapshot) as connection:
        model_ids = list(connection.scalars(select(models.c.id)))
    written = set()
    for folder in _OTHER_FOLDERS:
        for file in ws.blobs.stored.files(folder):
            if file.name.startswith(SET_ASIDE):
                continue
            try:
                data = ws.blobs.stored.get(file.name)
            except NotFound:
                continue
            writer.add(BLOBS + file.name, data)
            written.add(file.name)
    missing = [model_id for model_id in model_ids if f"models/{model_id}.safetensors" not in written]
    drop_deleted(snapshot, ws.db, (), missing)


def _probes(snapshot: Path, writer: Writer, ws: Workspace) -> tuple[tuple[Probe, ...], dict[str, str]]:
    """Of the state that is written, not of what the server says by now: from the snapshot and its models' files.

    Also the models that cannot be read, by id, and why.
    """
    blobs = FolderBlobs(snapshot.parent / BLOBS_FOLDER)
    for name in writer.members:
        if name.startswith(f"{BLOBS}models/"):
            with suppress(NotFound):
                blobs.put(name.removeprefix(BLOBS), ws.blobs.stored.get(name.removeprefix(BLOBS)))
    with closing(Workspace.open(Settings(data_dir=snapshot.parent))) as there:
        return make_probes(there), unusable_models(there)
