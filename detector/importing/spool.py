"""Where uploads wait until they are imported: one ZIP each, and what nobody will ever import is swept away."""

from __future__ import annotations

import secrets
import time
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from detector.storage import jobs
from detector.workspace import Workspace

#: An archive that was uploaded but not imported is kept for so long: somebody may still be choosing its labels.
KEPT_SECONDS = 24 * 3600

#: Selections too large for an address lie here as well, until their export is fetched.
SELECTION_ENDING = ".ids"

#: So do tables of labels that were given beside an archive, until the import is done.
TABLE_ENDING = ".table"


def spool_table(ws: Workspace, data: bytes) -> Path:
    """Keep an uploaded table of labels until its import is done."""
    path = ws.spool / f"{secrets.token_hex(12)}{TABLE_ENDING}"
    path.write_bytes(data)
    return path


def spooled(ws: Workspace, payload: dict[str, Any]) -> list[Path]:
    """The files of the spool that an import job reads; they are of no use when it is done."""
    table = (payload.get("plan") or {}).get("table") or {}
    named = [payload.get("path"), table.get("outside")]
    return [path for path in map(Path, filter(None, named)) if path.parent == ws.spool]


def spool_files(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write uploaded files into one ZIP at ``path``, so that they survive a restart."""
    seen: Counter[str] = Counter()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file_name, data in files:
            file_name = file_name.lstrip("/")
            seen[file_name] += 1
            if seen[file_name] > 1:
                path_shown = PurePosixPath(file_name)
                file_name = str(path_shown.with_stem(f"{path_shown.stem} ({seen[file_name]})"))
            archive.writestr(file_name, data)


def sweep_spool(ws: Workspace, kept_seconds: float = KEPT_SECONDS) -> int:
    """Remove halves of uploads, archives that nobody imported for a day and old selections; returns how many files.

    Call it before the server takes uploads: a half that lies there then belongs to a process that is gone. Archives
    that a job still names are kept however old they are.
    """
    wanted = {path for job in jobs.list_jobs(ws.db, limit=1_000_000) for path in spooled(ws, job.payload)}
    before = time.time() - kept_seconds
    removed = 0
    for path in ws.spool.iterdir():
        abandoned = (
            path.suffix in (".zip", SELECTION_ENDING, TABLE_ENDING)
            and path not in wanted
            and path.stat().st_mtime < before
        )
        if path.suffix == ".part" or abandoned:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
