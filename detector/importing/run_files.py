"""The files of a run of invokes, kept as they were given until the run is deleted: to open one, and to add some.

They lie in the spool under names that say run and function, so that whoever deletes either finds them without a table.
Beside the files lies a note of how they are read: the payload of an import of them, without its plan.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from detector.errors import NotFound
from detector.importing.entries import Entry, Source
from detector.storage import invoke_runs, jobs
from detector.storage.database import now
from detector.workspace import Workspace

#: Runs are kept for so long, with their files.
KEPT_DAYS = 7

_FILES, _NOTE = ".run", ".run.json"


def keep_run_files(ws: Workspace, run_id: str, source: dict[str, Any]) -> None:
    """Take over the files of a run: an upload of the spool becomes the run's, a folder of the server stays where it is.

    Parameters
    ----------
    source : dict
        The payload of an import of them, as `Pending.source`.
    """
    place = _place(ws, run_id)
    given = Path(source["path"])
    kept = {key: value for key, value in source.items() if key != "plan"}
    if given.parent == ws.spool:
        path = place.with_name(f"{place.name}{_FILES}")
        given.replace(path)
        kept["path"] = str(path)
        if "files" in kept:
            kept["files"] = [[str(path), name] for _, name in kept["files"]]
    note = place.with_name(f"{place.name}{_NOTE}")
    note.write_text(json.dumps(kept), encoding="utf-8")


def run_source(ws: Workspace, run_id: str) -> dict[str, Any]:
    """The payload that opens the files of a run. Raises NotFound."""
    place = _place(ws, run_id)
    try:
        text = place.with_name(f"{place.name}{_NOTE}").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound("run", run_id) from error
    return dict(json.loads(text))


def remove_run_files(ws: Workspace, *, run_id: str = "*", function_id: str = "*") -> None:
    """Remove the files of one run, or of all runs of a function."""
    for path in ws.spool.glob(f"{run_id}-{function_id}{_FILES}*"):
        path.unlink(missing_ok=True)


def sweep_runs(ws: Workspace, kept_seconds: float = KEPT_DAYS * 24 * 3600.0) -> int:
    """Delete runs that began long ago, and files of runs that are gone; returns how many runs.

    A run that some job still names is kept however old it is.
    """
    # Before asking which runs there are: a file that appears later belongs to a run that is not in the list yet.
    files = list(ws.spool.glob(f"*{_FILES}*"))
    old = invoke_runs.run_ids(ws.db, before=now() - kept_seconds)
    if old:
        old -= {str(job.payload.get("run")) for job in jobs.list_jobs(ws.db, limit=1_000_000)}
    gone = sum(invoke_runs.delete_run(ws.db, run_id) for run_id in old)
    there = invoke_runs.run_ids(ws.db)
    for path in files:
        if path.name.partition("-")[0] not in there:
            with suppress(FileNotFoundError):
                path.unlink()
    return gone


class SomeFiles:
    """Some of the files of a source, by their paths."""

    def __init__(self, source: Source, paths: Sequence[str]) -> None:
        self._source, self._paths = source, set(paths)
        self.passed_over: list[str] = []

    def entries(self) -> list[Entry]:
        """Those that are there, in the order of the source."""
        return [entry for entry in self._source.entries() if entry.path in self._paths]

    def __enter__(self) -> SomeFiles:
        self._source.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._source.__exit__(*error)


def _place(ws: Workspace, run_id: str) -> Path:
    run = invoke_runs.get_run(ws.db, run_id)
    return ws.spool / f"{run.id}-{run.function_id}"
