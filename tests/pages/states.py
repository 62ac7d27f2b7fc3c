"""The states in which a function can be, as the rows of its tables say it."""

from __future__ import annotations

from detector.jobs import BUILD, IMPORT, request_build
from detector.storage import functions, imports, jobs
from detector.storage.functions import Function
from detector.workspace import Workspace
from tests.factories import labelled_function

FAILURE = "The archive photos_2024.zip is damaged: it ends in the middle of a file."
NOTE = "The training ended early: an image of a label is missing. Import it again."


def waiting(ws: Workspace, function_id: str) -> None:
    """A build is queued, and nobody has begun it."""
    request_build(ws, function_id, delay=3600.0)


def running(ws: Workspace, function_id: str, kind: str = BUILD) -> None:
    """A job is 12 of 48 images on its way."""
    jobs.enqueue(ws.db, function_id, kind, {"title": "photos.zip"})
    job = jobs.claim(ws.db, (kind,), function_id)
    assert job is not None
    phase, message = ("import", "Importing images") if kind == IMPORT else ("embed", "Looking at images")
    jobs.report(ws.db, job.id, phase, 12, 48, message, 4.0)


def failed_training(ws: Workspace) -> Function:
    """A function with images, whose training gave no model."""
    function = labelled_function(ws, 2, "Failed")
    functions.set_training_note(ws.db, function.id, NOTE)
    return function


def failed_import(ws: Workspace, function_id: str) -> str:
    """An import that ended in the middle; returns its batch's id."""
    batch_id = imports.create_batch(ws.db, function_id, "zip", "photos_2024.zip")
    imports.finish_batch(ws.db, batch_id, "failed", 3, FAILURE)
    return batch_id
