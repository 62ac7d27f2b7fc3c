"""Deleting for good: rows at once, then what nobody else needs of pictures, models and indices."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from detector.importing.run_files import remove_run_files
from detector.storage import functions, models, trash
from detector.storage.acting import MANAGE, needs
from detector.storage.embeddings import neighbours_file
from detector.storage.leavings import (
    Leavings,
    forget_leavings,
    last_uses,
    list_leavings,
    remove_unused,
    unused_images,
)
from detector.system.priority import lower_thread_priority
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: Whoever deletes waits so long at most: removing 100,000 pictures takes minutes and goes on behind the answer.
_WAIT_SECONDS = 2.0


@needs(MANAGE, "deleting a function")
def delete_function(ws: Workspace, function_id: str) -> None:
    """Delete a function, its models, and the pictures that no other function has. Raises NotFound.

    Pictures may still be going when this returns; what a crash leaves of them goes at the next start of the server.
    """
    used = last_uses(ws.db, function_id)
    functions.delete_function(ws.db, function_id)
    _behind(lambda: _remove(ws, used, function_id))


@needs(MANAGE, "emptying the bin")
def empty_bin(ws: Workspace, function_id: str) -> int:
    """Remove what lies in the bin of a function for good, as `delete_function` does; returns how many samples."""
    used = last_uses(ws.db, function_id, only_bin=True)
    emptied = trash.empty_bin(ws.db, function_id)
    _behind(lambda: _remove(ws, used))
    return emptied


@needs(MANAGE, "removing what was deleted")
def sweep_in_background(ws: Workspace) -> threading.Thread:
    """Go on, in a thread, with what was being removed when the program ended. Once, at the start of the server."""

    def sweep() -> None:
        lower_thread_priority()
        sweep_leavings(ws)

    return _started(sweep)


@needs(MANAGE, "removing what was deleted")
def sweep_leavings(ws: Workspace) -> int:
    """Remove what deleted functions and emptied bins have left; returns how many pictures.

    Only what the database itself knows to be deleted: files that it does not know may belong to a copy of it.
    """
    for left in list_leavings(ws.db):
        _remove_files(ws, left)
        forget_leavings(ws.db, left.key)
    return remove_unused(ws.db, ws.blobs, unused_images(ws.db), {})


def _remove(ws: Workspace, used: dict[str, float], function_id: str | None = None) -> None:
    for left in list_leavings(ws.db):
        if left.function_id == function_id:
            _remove_files(ws, left)
            # A job that was in the middle may write its files once more: those go at the next start.
            if not left.busy:
                forget_leavings(ws.db, left.key)
    remove_unused(ws.db, ws.blobs, list(used), used)


def _remove_files(ws: Workspace, left: Leavings) -> None:
    for model_id in left.model_ids:
        models.delete_model_files(ws.blobs, model_id)
    ws.blobs.delete(neighbours_file(left.function_id))
    remove_run_files(ws, function_id=left.function_id)


def _behind(work: Callable[[], None]) -> None:
    _started(work).join(_WAIT_SECONDS)


def _started(work: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except Exception as error:
            # Nobody waits for it any more; the next start of the server goes on.
            log.warning("what was deleted could not be removed to its end: %s", error)

    thread = threading.Thread(target=run, name="deletion", daemon=True)
    thread.start()
    return thread
