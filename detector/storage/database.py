"""The connection: SQLite tuned for one writer and many readers, a schema version, and migrations step by step."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Insert, Table, create_engine, event, insert, inspect, select
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from detector.errors import (
    DatabaseTooNew,
    DataFolderUnusable,
    InvalidInput,
    StorageDamaged,
    StorageFull,
    StorageTrouble,
    StorageUnavailable,
)
from detector.storage.held import require_held
from detector.storage.migrations import SCHEMA_VERSION
from detector.storage.schema import meta, metadata
from detector.storage.trouble import storage_trouble
from detector.storage.upgrade import finish_upgrade, upgrade

#: How long a writer waits for another one before it gives up.
BUSY_TIMEOUT_SECONDS = 60


#: Bytes that SQLite needs beside its file to begin at all.
_LEAST_ROOM = 256_000

#: What `Database.write` is told by those who change the queue of jobs.
JOBS = "jobs"


def insert_missing(connection: Connection, table: Table) -> Insert:
    """An INSERT that passes over rows whose key is there, as another writer may put it there at this very moment.

    Give it rows in the order of their keys: of two writers with the same rows one then waits for the other, never both.
    """
    if connection.dialect.name == "sqlite":
        return insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table).on_conflict_do_nothing()


def new_id() -> str:
    """A random identifier of 16 characters, ``[a-f0-9]`` only."""
    return secrets.token_hex(8)


def now() -> float:
    """Seconds since the epoch; one place, so that every table agrees."""
    return time.time()


class Database:
    """One database.

    Parameters
    ----------
    url : str
        An SQLAlchemy URL. For SQLite the folder of the file is made when it is missing.
    may_be_new : callable, optional
        Asked before tables are made in a database without any; it raises where there was one before.

    Raises
    ------
    DatabaseTooNew
        A newer version of this program wrote it.
    DataFolderUnusable
        Another program wrote it.
    StorageTrouble
        It cannot be read or written.
    """

    def __init__(self, url: str, may_be_new: Callable[[], None] = lambda: None) -> None:
        parsed = make_url(url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        in_a_file = self._sqlite and parsed.database and parsed.database != ":memory:"
        self._file = Path(str(parsed.database)) if in_a_file else None
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        self.engine = create_engine(parsed, connect_args={"check_same_thread": False} if self._sqlite else {})
        if self._sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        event.listen(self.engine, "handle_error", _name_what_cannot_be_held)
        self._reader, self._writer = self.engine, self.engine.execution_options(detector_write=True)
        # SQLite has one writer, and whoever waits for it inside SQLite sleeps and asks again, up to a tenth of a
        # second: threads of one process take turns here instead, and lose no time between two transactions.
        self._writing = threading.BoundedSemaphore(1)
        if not self._sqlite:
            from detector.storage import server_database

            self._writing = threading.BoundedSemaphore(server_database.MOST_WRITERS)
            self._reader = server_database.reading(self.engine)
        self._secrets: dict[str, str] = {}
        self._same_file: _SameFile | None = None
        try:
            self._create_or_migrate(may_be_new)
        except BaseException:
            self.close()
            raise
        if self._file is not None and self._file.is_file():
            self._same_file = _SameFile(self._file)
            event.listen(self.engine, "do_connect", self._same_file)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; sees one consistent state. Raises StorageTrouble."""
        self._require_same_file()
        with self._troubles_named(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self, lanes: Collection[str] | None = None, patience: float | None = None) -> Iterator[Connection]:
        """A connection for writing; commits at the end, rolls back on an error.

        Nobody else writes meanwhile: what is read through this connection stays true until its end. SQLite has one
        writer anyway. On a server, who says what it is going to change waits only for those who change the same.

        Parameters
        ----------
        lanes : collection of str, optional
            What is going to be changed, with all that hangs on it: ids of functions, or `JOBS`. Empty: only rows of
            which each stands for itself, whatever others write at the same moment. If not given: anything.
        patience : float, optional
            Seconds that it waits for others at most: short for what need not be written at all. If not given:
            `BUSY_TIMEOUT_SECONDS`.

        Raises StorageTrouble.
        """
        patience = BUSY_TIMEOUT_SECONDS if patience is None else patience
        with self._troubles_named(), self._turn(patience):
            # Only when its turn has come: it may have waited for long.
            self._require_same_file()
            with self._writer.connect() as connection, self._patient(connection, patience), connection.begin():
                if not self._sqlite:
                    from detector.storage.server_database import take_turn

                    take_turn(connection, lanes, patience)
                # Of a job's thread: a worker that was thought dead writes nothing any more.
                require_held(self, connection)
                yield connection

    @contextmanager
    def _turn(self, patience: float) -> Iterator[None]:
        # Where another program holds the database, each of those before would wait its full time, one after the other.
        if not self._writing.acquire(timeout=patience):
            raise StorageUnavailable("database is locked")
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def _patient(self, connection: Connection, patience: float) -> Iterator[None]:
        """Have SQLite wait no longer than that for other programs, in this transaction alone."""
        if not self._sqlite or patience == BUSY_TIMEOUT_SECONDS:
            yield
            return
        driver: Any = connection.connection.dbapi_connection
        driver.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")
        try:
            yield
        finally:
            driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}")

    def _require_same_file(self) -> None:
        if self._same_file is not None:
            self._same_file.require()

    def close(self) -> None:
        self.engine.dispose()

    def secret(self, name: str) -> str:
        """A random secret kept in the database under ``name``, made at first use and never changed."""
        if name in self._secrets:
            return self._secrets[name]
        with self.read() as connection:
            value = connection.scalar(select(meta.c.value).where(meta.c.key == name))
        if value is None:
            with self.write() as connection:
                value = connection.scalar(select(meta.c.value).where(meta.c.key == name))
                if value is None:
                    value = secrets.token_urlsafe(32)
                    connection.execute(meta.insert().values(key=name, value=value))
        self._secrets[name] = str(value)
        return self._secrets[name]

    def damage(self) -> str:
        """What SQLite finds wrong with its file, in its own words; empty where it finds nothing.

        Reads the whole file: for those who have met something that cannot be.
        """
        if not self._sqlite:
            return ""
        try:
            with self.read() as connection:
                found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        except StorageDamaged as error:
            return error.why
        return "" if found == "ok" else found

    @contextmanager
    def _troubles_named(self) -> Iterator[None]:
        """Say in our words what SQLAlchemy and the drivers say in theirs, wherever it is about the database itself."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            found = storage_trouble(error) or _something_gone(error)
            if found is None:
                raise
            if isinstance(found, StorageUnavailable) and self._file is not None and _is_full(self._file.parent):
                # SQLite calls it an I/O error where there is no room for what lies beside its file.
                found = StorageFull()
            raise found from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            # A flipped bit within a value: SQLite keeps no checksums and hands it out.
            raise StorageDamaged("a stored value cannot be read") from error

    def _create_or_migrate(self, may_be_new: Callable[[], None]) -> None:
        if not self._sqlite and self._is_of_this_version():
            # Whoever makes tables is alone with a server's database, and whoever only opens it need not wait for that.
            return
        with self.write() as connection:
            tables = set(inspect(connection).get_table_names())
            if meta.name not in tables:
                # Beside the tables of others only where a server is shared, as it may be with PostgreSQL.
                if tables and self._sqlite:
                    raise _foreign(self.engine.url.database)
                may_be_new()
                metadata.create_all(connection)
                connection.execute(meta.insert().values(key="schema_version", value=str(SCHEMA_VERSION)))
                return
            found = self._version(connection)
            if found > SCHEMA_VERSION:
                raise DatabaseTooNew(found, SCHEMA_VERSION)
            said = upgrade(connection, found, self._file) if found < SCHEMA_VERSION else ""
        if said:
            finish_upgrade(self._file, said)

    def _is_of_this_version(self) -> bool:
        with self.read() as connection:
            there = meta.name in inspect(connection).get_table_names()
            return there and self._version(connection) == SCHEMA_VERSION

    def _version(self, connection: Connection) -> int:
        try:
            found = int(connection.scalar(select(meta.c.value).where(meta.c.key == "schema_version")) or 0)
        except (DBAPIError, ValueError) as error:
            if storage_trouble(error) is not None:
                raise
            raise _foreign(self.engine.url.database) from error
        if found < 1:
            raise _foreign(self.engine.url.database)
        return found


def _foreign(name: str | None) -> DataFolderUnusable:
    return DataFolderUnusable(
        f"The database {name} was not made by this program, or its first table is damaged; it was left as it is. Put "
        "back a copy of the right one, or name another data folder in DETECTOR_DATA_DIR."
    )


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _LEAST_ROOM
    except OSError:
        return False


def _something_gone(error: BaseException) -> StorageTrouble | None:
    """Tables are never dropped: where one is missing, the file is half a one."""
    words = str(getattr(error, "orig", error))
    if words.startswith(("no such table", "no such column", "malformed database schema")):
        return StorageDamaged(words)
    return StorageDamaged("a stored text cannot be read") if words.startswith("Could not decode to UTF-8") else None


class _SameFile:
    """Sees to it that the file is there still, and no other in its place.

    A connection that is open goes on with a file that was deleted or replaced: what is stored in it then is confirmed,
    and gone with the process. And a new connection would make a file that was taken away anew, empty. A file that comes
    back is used again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._known = self._identity()

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        # As SQLite itself tells files apart.
        return (status.st_dev, status.st_ino) if status.st_size else None

    def require(self) -> None:
        """Raises StorageUnavailable."""
        found = self._identity()
        if found is None:
            raise StorageUnavailable("the database file was taken away while the program runs")
        if found != self._known:
            raise StorageUnavailable(
                "another database file was put in the place of the one that is in use; restart the program to use it"
            )

    def __call__(self, dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> Any:
        self.require()
        return dialect.connect(f"{self._path.as_uri()}?mode=rw", **options, uri=True)


def _name_what_cannot_be_held(context: ExceptionContext) -> None:
    """A value that the database has no room for is a fault of who gave it, not of the program: one place for all doors.

    PostgreSQL's texts hold no NUL, no database's half a character, and no column a number of more than 64 bits. Texts
    that are read from files have neither when they come here; see `holdable`.
    """
    error = context.original_exception
    if isinstance(error, UnicodeEncodeError) or "NUL (0x00)" in str(error):
        raise InvalidInput("A text holds a NUL character or half of a character, which no database keeps. Take it out.")
    if isinstance(error, OverflowError) or getattr(error, "sqlstate", None) == "22003":
        raise InvalidInput("A number is larger than any that is stored here. Give a smaller one.")


def holdable(text: str) -> str:
    """``text`` from a file, without what a database cannot hold: NUL characters and halves of characters."""
    return text.replace("\0", "").encode(errors="ignore").decode()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling would begin too late; SQLAlchemy's "begin" event does it (see below).
    connection.isolation_level = None
    # 16 MB of page cache each: every connection of the pool fills its own while people leaf through Review.
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={int(BUSY_TIMEOUT_SECONDS * 1000)}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-16384",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then writes can fail at once with "database is locked", whatever the timeout.
    write = connection.get_execution_options().get("detector_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
