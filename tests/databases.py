"""Which database the tests' data folders use: SQLite in the folder, or one of a real PostgreSQL server each.

``pytest --database postgresql`` starts a server at the first data folder that is opened, one for each process of a run,
and gives every folder a database of its own: a copy of one that has its tables already. What a test file has used is
emptied and used again by the next one: dropping a database makes the server write everything to the disk first. A new
folder with SQLite gets a copy too: making all tables costs more than what many a test does with them.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from detector.storage.database import SCHEMA_VERSION, Database
from detector.storage.schema import meta, metadata
from tests.postgres import postgres

SQLITE, POSTGRESQL = "sqlite", "postgresql"

#: Kept to the end of the run: folders that the tests of several files share.
_SHARED = ("mixed2000",)


class _Run:
    """What this process has started and made."""

    def __init__(self) -> None:
        self.database = SQLITE
        self._started = ExitStack()
        self._server: str | None = None
        self._urls: dict[Path, str] = {}
        self._used: list[str] = []
        self._made = 0

    def url(self, folder: Path) -> str:
        # A folder that comes with its SQLite database, as those of earlier versions, stays with it.
        in_the_folder = self.database == SQLITE or (folder / "detector.sqlite").exists()
        return "" if in_the_folder else self.on_the_server(folder)

    def on_the_server(self, folder: Path) -> str:
        folder = folder.resolve()
        if folder not in self._urls:
            self._urls[folder] = self._emptied(self._used.pop()) if self._used else self._new()
        return self._urls[folder]

    def _new(self, template: str = "made") -> str:
        if self._server is None:
            folder = self._started.enter_context(tempfile.TemporaryDirectory())
            self._server = self._started.enter_context(postgres(Path(folder)))
            self._administer("CREATE DATABASE made")
            Database(str(make_url(self._server).set(database="made"))).close()
        self._made += 1
        name = f"folder_{self._made}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return str(make_url(self._server).set(database=name))

    def _administer(self, statement: str) -> None:
        engine = create_engine(str(self._server), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def _emptied(self, url: str) -> str:
        name = make_url(url).database
        self._administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        engine = create_engine(url)
        tables = ", ".join(f'"{table}"' for table in metadata.tables)
        with engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
            connection.execute(meta.insert().values(key="schema_version", value=str(SCHEMA_VERSION)))
        engine.dispose()
        return url

    def copy(self, folder: Path, copy: Path) -> None:
        url = self.url(folder)
        if not url:
            return
        name = make_url(url).database
        self._administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        self._urls[copy.resolve()] = self._new(str(name))

    def give_back(self) -> None:
        for folder, url in list(self._urls.items()):
            if folder.name not in _SHARED:
                self._used.append(url)
                del self._urls[folder]

    def end(self) -> None:
        self._urls.clear()
        self._server = None
        self._started.close()


_run = _Run()


def choose(database: str) -> None:
    """Say, once and before any test is imported, which database is meant."""
    _run.database = database


def chosen() -> str:
    return _run.database


def database_url(folder: Path) -> str:
    """What `DETECTOR_DATABASE_URL` is to say for a data folder: the same at each asking; empty for SQLite."""
    return _run.url(folder)


def postgresql_url(folder: Path) -> str:
    """A database of the server for a data folder, whichever database the run is about: for tests marked so."""
    return _run.on_the_server(folder)


def database_setting(folder: Path) -> dict[str, str]:
    """The same as an environment; none for SQLite."""
    url = database_url(folder)
    return {"DETECTOR_DATABASE_URL": url} if url else {}


def copy_data(folder: Path, copy: Path) -> None:
    """Copy a data folder that nobody has open, with its database wherever that is."""
    shutil.copytree(folder, copy)
    _run.copy(folder, copy)


def give_databases_back() -> None:
    """What the tests of a file have used may be emptied for those of the next."""
    _run.give_back()


def stop_server() -> None:
    """End the server, if one was started."""
    _run.end()


def make_tables(folder: Path) -> None:
    """Put an SQLite database without a row into a new data folder, as the first opening does."""
    if not folder.exists() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "detector.sqlite").write_bytes(_tables())


@cache
def _tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "detector.sqlite")
        Database(f"sqlite:///{file}").close()
        return file.read_bytes()


def names_database(reason: str) -> pytest.MarkDecorator:
    """A mark for tests to which ``--database`` is nothing: they name a database themselves, or are about none.

    With ``--database postgresql`` they are left out, as the plain command runs them.
    """
    return pytest.mark.names_database(reason=reason)


def sqlite_only(reason: str) -> pytest.MarkDecorator:
    """A mark for tests of SQLite's own file: how it locks, is damaged, moved away, or was written long ago."""
    return pytest.mark.skipif(_run.database != SQLITE, reason=f"about SQLite's file: {reason}")
