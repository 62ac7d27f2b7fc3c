"""One opened data folder: settings, database and blobs together. What every entry point starts from."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from detector.errors import (
    DataFolderUnusable,
    InvalidInput,
    StorageDamaged,
    StorageFull,
    StorageTrouble,
    StoreUnavailable,
)
from detector.imaging import ImageLimits
from detector.settings import Settings, load_settings
from detector.storage.blobs import Blobs
from detector.storage.database import BUSY_TIMEOUT_SECONDS, Database
from detector.storage.folder import (
    holds_rows,
    missing_pictures,
    require_database,
    require_no_leftovers,
    require_restored,
    sqlite_file,
)
from detector.storage.places import PlacedBlobs
from detector.storage.stores import open_blobs
from detector.storage.trouble import storage_trouble

_ANOTHER = "Give another one in DETECTOR_DATA_DIR."
_RIGHTS = (
    "Give the user who runs this program the right to read and write there, or name another data folder in "
    "DETECTOR_DATA_DIR."
)


@dataclass(frozen=True)
class Workspace:
    """``warning`` is a sentence for whoever runs this, where the parts of the folder do not seem to belong together."""

    settings: Settings
    db: Database
    blobs: Blobs
    warning: str = ""

    @classmethod
    def open(cls, settings: Settings | None = None) -> Workspace:
        """Open the data folder of ``settings``, making it when it is missing.

        Raises
        ------
        DatabaseTooNew
        DataFolderUnusable
            The folder or the database in it cannot be used.
        InvalidInput
            The database's URL or the object store's cannot be used.
        StoreUnavailable
            The object store cannot be reached, or refuses.
        """
        settings = settings or load_settings()
        folder = settings.data_dir
        _check_url(settings.database_url)
        blobs = open_blobs(settings.store, folder, settings.store_cache_mb)
        blobs.check()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = sqlite_file(settings.url)
            if file is not None:
                require_restored(folder, file.exists() and file.stat().st_size > 0)
            require_database(folder, settings.url, blobs)
            db = Database(settings.url, lambda: require_no_leftovers(folder, settings.url, blobs))
            try:
                if file is None:
                    require_restored(folder, holds_rows(db))
                return cls(settings, db, PlacedBlobs(blobs, db), missing_pictures(db, blobs))
            except BaseException:
                db.close()
                raise
        except ImportError as error:
            raise InvalidInput(
                f"The database of DETECTOR_DATABASE_URL needs a Python package that is not installed ({error}). For "
                'PostgreSQL: pip install "ai-image-detector[postgresql]". Or unset the variable to use SQLite in the '
                "data folder."
            ) from error
        except StoreUnavailable:
            # It says itself what is wrong; the folder is well.
            raise
        except (OSError, SQLAlchemyError, sqlite3.Error, StorageTrouble) as error:
            raise DataFolderUnusable(_why_unusable(settings, error)) from error

    @property
    def limits(self) -> ImageLimits:
        return ImageLimits(max_bytes=self.settings.max_image_bytes, max_pixels=self.settings.max_pixels)

    @property
    def spool(self) -> Path:
        """Where uploads wait until their import is done."""
        folder = self.settings.data_dir / "spool"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        self.db.close()


def _check_url(url: str) -> None:
    if not url:
        return
    try:
        make_url(url).get_dialect()
    except (ArgumentError, ValueError) as error:
        # Not the URL itself: it may hold a password.
        raise InvalidInput(
            "DETECTOR_DATABASE_URL is not the URL of a database that is known here, such as "
            "postgresql+psycopg://user@host/name. Correct it, or unset it to use SQLite in the data folder."
        ) from error


def _why_unusable(settings: Settings, error: BaseException) -> str:
    """What stands in the way of opening the data folder, and what to do about it."""
    folder, path = settings.data_dir, sqlite_file(settings.url)
    trouble = storage_trouble(error)
    if isinstance(error, OSError):
        if isinstance(trouble, StorageFull):
            return f"The data folder {folder} cannot be used: its disk is full. Make room there, then try again."
        why = error.strerror or str(error)
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            why = "there is a file where a folder is needed"
        return f"The data folder {folder} cannot be used ({why}). {_RIGHTS if trouble is not None else _ANOTHER}"
    if path is None:
        where = make_url(settings.url).render_as_string(hide_password=True)
        why = getattr(trouble, "why", None) or _first_line(error)
        return (
            f"The database {where} cannot be used ({why}). See that its server runs and lets this program in, or "
            "correct DETECTOR_DATABASE_URL."
        )
    if isinstance(trouble, StorageFull):
        return (
            f"The database {path} cannot be opened: its disk is full. Make room there, then try again; what was stored "
            "is kept."
        )
    code = _sqlite_code(error)
    if code == sqlite3.SQLITE_NOTADB:
        return (
            f"The file {path} is not a database, or its beginning is damaged; it was left as it is. Put back a copy of "
            "the right one, or name another data folder in DETECTOR_DATA_DIR."
        )
    if isinstance(trouble, StorageDamaged):
        return f"The database {path} cannot be used. {trouble}"
    if code == sqlite3.SQLITE_BUSY:
        return (
            f"The database {path} is held by another program and was not let go within {BUSY_TIMEOUT_SECONDS} s. End "
            "that program, or try again when it is done."
        )
    if path.is_dir():
        return f"The database {path} is a folder. Move it away, or name another data folder in DETECTOR_DATA_DIR."
    if code == sqlite3.SQLITE_READONLY or not _may_write(folder, path):
        return f"The database {path} cannot be written: it, its folder or its disk is read-only. {_RIGHTS}"
    why = getattr(trouble, "why", None) or _first_line(error)
    return f"The database {path} cannot be opened ({why}). {_RIGHTS}"


def _sqlite_code(error: BaseException | None) -> int | None:
    while error is not None:
        code = getattr(error, "sqlite_errorcode", None) or getattr(
            getattr(error, "orig", None), "sqlite_errorcode", None
        )
        if code is not None:
            return int(code) & 0xFF
        error = error.__cause__
    return None


def _may_write(folder: Path, path: Path) -> bool:
    return os.access(folder, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "orig", None) or error).splitlines() or [""])[0]
