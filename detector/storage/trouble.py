"""Failures of the machine told apart from failures of the data: a full disk is no fault of the picture in hand."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from detector.errors import (
    DetectorError,
    StorageDamaged,
    StorageFull,
    StorageTrouble,
    StorageUnavailable,
    StoreUnavailable,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: What a disk, a network drive or the system's own limits say; nothing of it is about the content of a file.
_UNAVAILABLE = frozenset(
    {
        *(errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EBUSY, errno.EAGAIN, errno.ENOLCK),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO, errno.ENODEV),
        *(errno.EREMOTEIO, errno.ENOTCONN, errno.EHOSTDOWN),
    }
)

#: SQLite's primary result codes, the last byte of what the driver gives. https://sqlite.org/rescode.html
_SQLITE_FULL = 13
_SQLITE_UNAVAILABLE = {5, 6, 7, 8, 10, 14, 15}  # busy, locked, no memory, read-only, I/O, cannot open, protocol
_SQLITE_DAMAGED = {11, 26}  # corrupt, not a database
_SQLITE_DAMAGED_EXTENDED = {8458, 8714}  # I/O errors that mean damage: a checksum, a corrupt file system

#: PostgreSQL's SQLSTATE. https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES_FULL = ("53100",)
#: Connection lost, too little of something, a lock not got or a deadlock, shut down, I/O, read only for now.
_POSTGRES_UNAVAILABLE = ("08", "53", "57P", "58", "55P03", "40", "25006")
_POSTGRES_DAMAGED = ("XX001", "XX002")


def storage_trouble(error: BaseException) -> DetectorError | None:
    """What an exception says about the place where things are stored; None where it says nothing about it.

    Parameters
    ----------
    error : BaseException
        Of SQLAlchemy, a database driver, the system, or what one of these was turned into (its cause).

    Returns
    -------
    StorageFull, StorageUnavailable or StorageDamaged, not raised: ``raise storage_trouble(error) from error``. An error
    that is one of them already comes back itself.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        found = _of_one(current)
        if found is not None:
            return found
        if isinstance(current, DetectorError):
            # It has a sentence of its own, and whoever raised it knew of its cause.
            return None
        current = current.__cause__
    return None


def may_pass(error: BaseException) -> DetectorError | None:
    """As `storage_trouble`, but None too where waiting does not help, as with a damaged database."""
    found = storage_trouble(error)
    return found if isinstance(found, StorageTrouble) and found.passes else None


def once_more(act: Callable[[], T], pauses: Sequence[float]) -> T:
    """Do something that may be done twice, again after each pause where the machine could not.

    Raises what the last time raised; at once where waiting does not help, and on a full disk: room does not come in a
    moment.

    Parameters
    ----------
    pauses : sequence of float
        In seconds.
    """
    for pause in pauses:
        try:
            return act()
        except Exception as error:
            trouble = may_pass(error)
            # An object store was asked several times already.
            if trouble is None or isinstance(trouble, (StorageFull, StoreUnavailable)):
                raise
            log.info("once more in %.2f s: %s", pause, error)
        time.sleep(pause)
    return act()


def _of_one(error: BaseException) -> StorageTrouble | None:
    if isinstance(error, StorageTrouble):
        return error
    if isinstance(error, NoFreeConnection):
        return StorageUnavailable("too many ask the database at once")
    if isinstance(error, DBAPIError) and isinstance(error.orig, BaseException):
        return _of_driver(error.orig, error.connection_invalidated)
    if isinstance(error, OSError):
        return _of_system(error)
    if hasattr(error, "sqlite_errorcode") or hasattr(error, "sqlstate"):
        return _of_driver(error, False)
    # Libraries in other languages give the system's words only.
    if f"(os error {errno.ENOSPC})" in str(error) or os.strerror(errno.ENOSPC) in str(error):
        return StorageFull()
    return None


def _of_system(error: OSError) -> StorageTrouble | None:
    if error.errno in _FULL:
        return StorageFull()
    if error.errno in _UNAVAILABLE:
        return StorageUnavailable(os.strerror(error.errno))
    return None


def _of_driver(error: BaseException, lost: bool) -> StorageTrouble | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        if code & 0xFF == _SQLITE_FULL:
            return StorageFull()
        if code & 0xFF in _SQLITE_DAMAGED or code in _SQLITE_DAMAGED_EXTENDED:
            return StorageDamaged(str(error))
        return StorageUnavailable(str(error)) if code & 0xFF in _SQLITE_UNAVAILABLE else None
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(_POSTGRES_FULL):
        return StorageFull()
    if state.startswith(_POSTGRES_DAMAGED):
        return StorageDamaged(_first_line(error))
    # A connection that could not be made has no state; one that was cut is told by SQLAlchemy too.
    # SQLite's driver gives no code where it complains itself, as about text that is none.
    unreached = not state and type(error).__name__ == "OperationalError" and type(error).__module__ != "sqlite3"
    if lost or unreached or state.startswith(_POSTGRES_UNAVAILABLE):
        return StorageUnavailable(_first_line(error) or "the database does not answer")
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
