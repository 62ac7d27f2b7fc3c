"""What shared work is, and one task of it in a process of a cluster, with settings and a workspace of its own."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from detector.errors import DetectorError, SharedWorkFailed
from detector.settings import load_settings
from detector.storage.folder import sqlite_file
from detector.storage.trouble import may_pass
from detector.workspace import Workspace

log = logging.getLogger(__name__)

_opened: Workspace | None = None
_opening = threading.Lock()


#: What is told of progress: so many items are done. May raise, which ends the work; what is stored stays.
At: TypeAlias = Callable[[int], None]


@dataclass(frozen=True)
class SharedWork:
    """Something that can be done to many pictures piece by piece, wherever there is room.

    Attributes
    ----------
    name : str
        What it is called in the table of tasks; it must never change.
    run : callable
        (workspace, parameters, items, at) -> what came of them, as plain JSON. Parameters and items are plain JSON too.
        It calls ``at`` once when it begins with the items, what it needs being loaded, then whenever some are done.
        ``"done"`` of the result counts the items that are through, whoever was the first to do them. A function of a
        module: other processes find it by its name.
    resumes : bool
        What is done of it is stored at once, so whoever begins it again goes on from there.
    size : int, optional
        Items of a task, for work of which a single item is much already. If not given, by how many there are.
    """

    name: str
    run: Callable[[Workspace, dict[str, Any], list[Any], At], dict[str, Any]]
    resumes: bool = True
    size: int | None = None


def identity(ws: Workspace) -> str:
    """By what a worker knows that its database is the one of whoever shares the work. No address, no password."""
    return ws.db.secret("identity")


def run_task(work: SharedWork, parameters: dict[str, Any], whose: str, items: list[Any]) -> dict[str, Any]:
    """Do one task in this process, in the data folder and database of its own settings.

    Parameters
    ----------
    whose : str
        The `identity` of the database that is meant.

    Returns
    -------
    dict
        ``{"piece": ...}``, or ``{"failed": sentence, "passes": bool}``: whoever asked may not have the classes of the
        errors that this machine raises, and a sentence travels everywhere.
    """
    try:
        ws = _workspace()
        if identity(ws) != whose:
            raise SharedWorkFailed(
                "it uses another database. Give it the DETECTOR_DATA_DIR or DETECTOR_DATABASE_URL of the server"
            )
        return {"piece": work.run(ws, parameters, items, lambda _done: None)}
    except Exception as error:
        if not isinstance(error, DetectorError):
            log.exception("a piece of shared work failed")
        passes = may_pass(error) is not None
        why = (
            str(error).rstrip(".") if isinstance(error, DetectorError) else f"{type(error).__name__}; its log says more"
        )
        return {"failed": f"the worker on {socket.gethostname()} could not do its part: {why}", "passes": passes}


def _workspace() -> Workspace:
    """Of this process, opened once and kept; never made: a worker without settings would look into an empty folder."""
    global _opened
    with _opening:
        if _opened is None:
            settings = load_settings()
            path = sqlite_file(settings.url)
            if path is not None and not path.is_file():
                raise SharedWorkFailed(
                    f"there is no database {path}. Start it with the DETECTOR_DATA_DIR or DETECTOR_DATABASE_URL of the "
                    "server"
                )
            ws = Workspace.open(settings)
            if ws.warning:
                ws.close()
                raise SharedWorkFailed(ws.warning)
            _opened = ws
        return _opened
