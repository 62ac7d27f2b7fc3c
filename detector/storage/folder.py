"""What belongs together in a data folder: a database that is gone or another folder's is noticed before it is used."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import exists, select
from sqlalchemy.engine import make_url

from detector.errors import DatabaseMissing, DataFolderUnusable, StorageTrouble
from detector.storage.blobs import Blobs
from detector.storage.database import Database
from detector.storage.folder_blobs import FolderBlobs
from detector.storage.schema import images, meta, metadata, places, samples, workers

#: Where the files lie that only the database knows the meaning of.
BLOBS = "blobs"

#: Lies in a data folder while a backup is put into it, until its database, which comes last, is there.
UNFINISHED = "restore.unfinished"

#: Beside an SQLite database, what was committed last and is not in the file itself yet.
_LOGS = ("-wal", "-journal")
#: How many of the newest pictures are looked for when a folder is opened.
_LOOKED_FOR = 8


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for other databases, and for one in memory or given as a ``file:`` URI."""
    parsed = make_url(url)
    name = parsed.database or ""
    if parsed.get_backend_name() != "sqlite" or name in ("", ":memory:") or name.startswith("file:"):
        return None
    return Path(name)


def logs_of(database: Path) -> list[Path]:
    """What SQLite may keep beside a database, whether it is there or not."""
    return [database.with_name(database.name + ending) for ending in (*_LOGS, "-shm")]


def require_restored(data_dir: Path, has_database: bool) -> None:
    """Refuse to go on where a restore was killed before its database came; else the mark of it goes.

    Raises
    ------
    DataFolderUnusable
        Nothing was changed.
    """
    mark = data_dir / UNFINISHED
    if not mark.exists():
        return
    if not has_database:
        raise DataFolderUnusable(
            f"A restore of a backup into {data_dir} was not finished, and its database is not there yet. Run python -m "
            "detector restore once more with the same backup; or, to begin without it, empty that folder."
        )
    mark.unlink(missing_ok=True)


def holds_rows(db: Database) -> bool:
    """Whether there is anything in a database but what a server writes that is only started."""
    asked = [table for table in metadata.sorted_tables if table.name not in (meta.name, workers.name)]
    with db.read() as connection:
        return any(connection.scalar(select(exists(select(table)))) for table in asked)


def require_database(data_dir: Path, url: str, blobs: Blobs) -> None:
    """Refuse to go on where a new SQLite database would be made in the place of one that was lost.

    Raises
    ------
    DatabaseMissing
        Nothing was changed.
    """
    path = sqlite_file(url)
    if path is None or _size(path):
        return
    state = "is empty (0 bytes)" if path.exists() else "is missing"
    for ending in _LOGS:
        log = path.with_name(path.name + ending)
        if _size(log):
            raise DatabaseMissing(
                f"The database {path} {state}, but {log.name} next to it holds what was stored last. Put the database "
                "back from where it went, or from a copy, and keep that file: SQLite would delete it. To start over, "
                f"move the folder {data_dir} away."
            )
    if (kinds := blobs.kinds()) is not None:
        raise DatabaseMissing(
            f"The database {path} {state}, but {blobs.place} holds {kinds} that it described. Put a copy of the "
            f"database back. To start over, {_start_over(data_dir, blobs)}."
        )


def require_no_leftovers(data_dir: Path, url: str, blobs: Blobs) -> None:
    """As `require_database`, for a database of any kind that was found without tables. Raises DatabaseMissing."""
    if (kinds := blobs.kinds()) is None:
        return
    name = sqlite_file(url) or make_url(url).render_as_string(hide_password=True)
    beside = data_dir / "detector.sqlite"
    own = f" Its own database is probably {beside}: unset DETECTOR_DATABASE_URL to use it." if _size(beside) else ""
    if beside == name:
        own = ""
    empty = (
        "an empty data folder in DETECTOR_DATA_DIR"
        if isinstance(blobs.stored, FolderBlobs)
        else "another prefix in DETECTOR_STORE"
    )
    raise DatabaseMissing(
        f"The database {name} has no tables, but {blobs.place} holds {kinds} that another one described.{own} Put "
        f"a copy of that database back, or, to start over, name {empty}."
    )


def missing_pictures(db: Database, blobs: Blobs) -> str:
    """A sentence where none of the newest pictures has its file, as with the database of another data folder; else "".

    A look at a few files, whatever the number of pictures.
    """
    statement = (
        select(images.c.hash, images.c.byte_count)
        .join(samples, samples.c.image_hash == images.c.hash)
        # Those that were imported in place need no file here.
        .where(~exists().where(places.c.image_hash == images.c.hash))
        .order_by(samples.c.sequence.desc())
        .limit(_LOOKED_FOR)
    )
    try:
        with db.read() as connection:
            newest = connection.execute(statement).all()
    except StorageTrouble:
        # Whoever asks for what cannot be read is told then; the rest can still be looked at and exported.
        return ""
    if not newest or any(blobs.has_image(row.hash, row.byte_count) for row in newest):
        return ""
    if not isinstance(blobs.stored, FolderBlobs):
        return (
            f"None of the newest pictures that the database knows is in {blobs.place}: the database may belong to "
            "another store or to a data folder. Correct DETECTOR_STORE, or copy the folder there with python -m "
            "detector copy-to-store; until then pictures cannot be opened, exported or looked at by another backbone."
        )
    return (
        f"None of the newest pictures that the database knows has its file in the folder {BLOBS} of the data folder: "
        f"the database may belong to another data folder, or {BLOBS} was moved. Put the two together again; until then "
        "pictures cannot be opened, exported or looked at by another backbone."
    )


def _start_over(data_dir: Path, blobs: Blobs) -> str:
    if isinstance(blobs.stored, FolderBlobs):
        return f"move the folder {data_dir} away"
    return "name another prefix in DETECTOR_STORE"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
