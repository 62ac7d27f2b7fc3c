"""Whether the parts that a server needs can be used at this moment."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from detector.errors import DetectorError
from detector.storage.schema import meta
from detector.storage.trouble import storage_trouble
from detector.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Readiness:
    """What is wrong with each part, in words without a path, host or secret; empty where nothing is."""

    database: str
    store: str
    worker: str

    @property
    def ready(self) -> bool:
        return not (self.database or self.store or self.worker)

    def to_json(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            **{name: getattr(self, name) or "ok" for name in ("database", "store", "worker")},
        }


def readiness(ws: Workspace, worker: Callable[[], str]) -> Readiness:
    """Ask each part.

    Parameters
    ----------
    worker : callable
        Says what is wrong with whoever runs the jobs; empty where nothing is.
    """
    return Readiness(
        _wrong(lambda: _read(ws), "cannot be read"),
        _wrong(lambda: _store(ws), "cannot be reached or written"),
        _said(worker),
    )


def _read(ws: Workspace) -> None:
    with ws.db.read() as connection:
        connection.execute(select(meta.c.value).limit(1)).all()


def _store(ws: Workspace) -> None:
    ws.blobs.check()
    if not os.access(ws.settings.data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError("the data folder")


def _said(worker: Callable[[], str]) -> str:
    try:
        return worker()
    except Exception as error:
        log.warning("nobody can say whether jobs are run: %s", error)
        return "nobody can say whether jobs are run"


def _wrong(ask: Callable[[], None], words: str) -> str:
    """Our words alone: those of a database or a store hold paths and hosts, and go to the log."""
    try:
        ask()
    except Exception as error:
        if not isinstance(error, (DetectorError, OSError)) and storage_trouble(error) is None:
            log.exception("a part of the server cannot be used")
        else:
            log.warning("a part of the server cannot be used: %s", error)
        return words
    return ""
