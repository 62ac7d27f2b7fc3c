"""How much of the disk is left: what adds pictures does not begin where little is, so that all else can go on.

A disk that is full to its last byte refuses labels and even deletions, since the database notes them. So imports,
copies, runs and captured pictures begin only above the room that the settings keep free.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sqlalchemy import Connection, func, select

from detector.errors import TooLittleRoom
from detector.settings import Settings


def free_bytes(folder: Path) -> int:
    """What programs may still write on the disk of a folder, of the nearest one that is there."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
    return shutil.disk_usage(os.curdir).free


def require_room(settings: Settings) -> None:
    """Call before something begins that adds pictures. Raises TooLittleRoom."""
    said = lacking_room(settings)
    if said is not None:
        raise said


def lacking_room(settings: Settings) -> TooLittleRoom | None:
    """Why nothing that adds pictures begins now; None where there is room, or the settings keep none free."""
    kept = settings.min_free_mb * 1_000_000
    if not kept:
        return None
    free = free_bytes(settings.data_dir)
    return TooLittleRoom(free, kept) if free < kept else None


def database_bytes(connection: Connection) -> int:
    """How much the database takes, as it says itself."""
    if connection.dialect.name == "sqlite":
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar() or 0
        return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar() or 0)
    return int(connection.scalar(select(func.pg_database_size(func.current_database()))) or 0)
