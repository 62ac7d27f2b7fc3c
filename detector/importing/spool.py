"""Where uploads wait until they are imported: one ZIP each, and what nobody will ever import is swept away."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from detector.importing.opening import KINDS, spooled_files
from detector.storage import jobs
from detector.workspace import Workspace

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

#: An archive that was uploaded but not imported is kept for so long: somebody may still be choosing its labels.
KEPT_SECONDS = 24 * 3600

#: Selections too large for an address lie here as well, until their export is fetched.
SELECTION_ENDING = ".ids"

#: So do tables of labels that were given beside an archive, until the import is done.
TABLE_ENDING = ".table"

#: Between making a file and holding it.
_UNLOCKED_SECONDS = 60.0


def spool_table(ws: Workspace, data: bytes) -> Path:
    """Keep an uploaded table of labels until its import is done."""
    path = ws.spool / f"{secrets.token_hex(12)}{TABLE_ENDING}"
    _write_whole(path, lambda partial: partial.write_bytes(data))
    return path


def spooled(ws: Workspace, payload: dict[str, Any]) -> list[Path]:
    """The files of the spool that an import job reads; they are of no use when it is done."""
    # Builds and audits name none. A kind of another version is kept by what all kinds have in common.
    kind = KINDS.get(payload.get("from", ""))
    return (kind.after if kind is not None else spooled_files)(ws, payload)


def spool_files(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write uploaded files into one ZIP at ``path``, so that they survive a restart."""

    def write(partial: Path) -> None:
        seen: Counter[str] = Counter()
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for file_name, data in files:
                file_name = file_name.lstrip("/")
                seen[file_name] += 1
                if seen[file_name] > 1:
                    path_shown = PurePosixPath(file_name)
                    file_name = str(path_shown.with_stem(f"{path_shown.stem} ({seen[file_name]})"))
                archive.writestr(file_name, data)

    _write_whole(path, write)


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """A file of the spool whole or not at all: half an archive on a full disk is no archive, and takes what is left."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with begin_part(partial):
            write(partial)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def begin_part(path: Path) -> BinaryIO:
    """Make the file of an upload that arrives, and hold it: `sweep_spool` removes those that nobody holds.

    The system lets go of it when the file is closed, however its process ends. Raises FileExistsError.
    """
    # Unbuffered: else what the disk refused is written once more when the file is closed.
    file: BinaryIO = path.open("xb", buffering=0)
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # Not on every network drive; its age has to do.
            log.info("%s cannot be locked", path.parent)
    return file


def sweep_spool(ws: Workspace, kept_seconds: float = KEPT_SECONDS) -> int:
    """Remove halves of uploads, archives that nobody imported for a day and old selections; returns how many files.

    Another server may be at work in the same folder: halves that somebody still writes are left, however long they
    take. Archives that a job still names are kept however old they are.
    """
    moment = time.time()
    old = [
        path
        for path in ws.spool.iterdir()
        if path.suffix in (".zip", SELECTION_ENDING, TABLE_ENDING) and _older(path, moment - kept_seconds)
    ]
    # Asked after looking: what was asked for in between is wanted.
    wanted = {path for job in jobs.list_jobs(ws.db, limit=1_000_000) for path in spooled(ws, job.payload)}
    removed = 0
    for path in old:
        if path not in wanted:
            path.unlink(missing_ok=True)
            removed += 1
    for path in ws.spool.glob("*.part"):
        # What is younger may have been made but not locked yet.
        if _older(path, moment - _UNLOCKED_SECONDS) and _remove_unless_held(path, moment - kept_seconds):
            removed += 1
    return removed


def sweep_temporary(ws: Workspace, kept_seconds: float = KEPT_SECONDS) -> int:
    """Remove what killed processes left half written beside images and models; returns how many files.

    In an object store: what is left of discarding there, and what nobody read lately from its cache on this machine.
    """
    return ws.blobs.sweep(time.time() - kept_seconds)


def _older(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:
        return False


def _remove_unless_held(path: Path, certainly_old: float) -> bool:
    try:
        with path.open("rb") as file:
            if fcntl is None:
                if not _older(path, certainly_old):
                    return False
            else:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                except OSError:
                    if not _older(path, certainly_old):
                        return False
            path.unlink()
    except OSError:
        # Gone meanwhile: its upload ended.
        return False
    return True
