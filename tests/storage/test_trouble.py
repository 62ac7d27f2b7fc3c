"""Failures of the machine are told apart from failures of the data, by what the parts really raise."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from detector.errors import InvalidInput, StorageDamaged, StorageFull, StorageTrouble, StorageUnavailable
from detector.storage.trouble import may_pass, storage_trouble


def _raised(url: str, *statements: str) -> DBAPIError:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    except DBAPIError as error:
        return error
    finally:
        engine.dispose()
    raise AssertionError("nothing was raised")


def test_what_sqlite_says(tmp_path: Path) -> None:
    """Kind: a full disk, a damaged page and a folder that is gone came out as SQLAlchemy's own words."""
    file = f"sqlite:///{tmp_path / 'a.sqlite'}"
    full = _raised(file, "PRAGMA max_page_count=2", "CREATE TABLE a (b)", "INSERT INTO a VALUES (zeroblob(100000))")
    assert isinstance(storage_trouble(full), StorageFull)
    assert isinstance(may_pass(full), StorageFull)
    gone = _raised(f"sqlite:///{tmp_path / 'no' / 'folder'}", "CREATE TABLE a (b)")
    assert isinstance(storage_trouble(gone), StorageUnavailable)
    (tmp_path / "b.sqlite").write_bytes(b"no database at all" * 500)
    damaged = _raised(f"sqlite:///{tmp_path / 'b.sqlite'}", "SELECT * FROM a")
    assert isinstance(storage_trouble(damaged), StorageDamaged)
    assert may_pass(damaged) is None, "waiting does not help"
    assert storage_trouble(_raised(file, "SELECT nothing FROM nowhere")) is None


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, StorageUnavailable),
        (errno.EROFS, StorageUnavailable),
        (errno.EACCES, StorageUnavailable),
        (errno.ENOENT, None),
        (errno.ENAMETOOLONG, None),
    ],
)
def test_what_the_system_says(number: int, kind: type[StorageTrouble] | None) -> None:
    found = storage_trouble(OSError(number, os.strerror(number), "/some/path"))
    assert type(found) is (kind or type(None))
    assert "/some/path" not in str(found)


def test_what_was_turned_into_another_error_is_found_by_its_cause_but_for_a_sentence_of_its_own() -> None:
    cause = OSError(errno.ENOSPC, "No space left on device")
    wrapped, said = RuntimeError("in a library"), InvalidInput("The folder cannot be used.")
    wrapped.__cause__ = said.__cause__ = cause
    assert isinstance(storage_trouble(wrapped), StorageFull)
    assert storage_trouble(said) is None
    assert isinstance(storage_trouble(RuntimeError("I/O error: No space left on device (os error 28)")), StorageFull)
    ours = StorageFull()
    assert storage_trouble(ours) is ours
