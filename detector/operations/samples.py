"""Samples of a function: a few added at once, put into the bin, taken out of it. Imports have a room of their own."""

from __future__ import annotations

from collections.abc import Sequence

from detector.formatting import count
from detector.importing.batch import Incoming, import_items
from detector.jobs import request_build, request_retraining
from detector.operations.outcome import Outcome
from detector.storage import imports, trash
from detector.workspace import Workspace


def add_samples(ws: Workspace, function_id: str, files: Sequence[tuple[str, bytes]], title: str) -> Outcome:
    """Keep images as samples without a label; a build follows, which embeds them and says what they look like.

    Parameters
    ----------
    files : sequence of (file name, bytes)
        Few: they are read and stored before this returns.
    title : str
        What the import's report is called.
    """
    batch = imports.create_batch(ws.db, function_id, "upload", title)
    items = [Incoming(name, lambda data=data: data) for name, data in files]  # type: ignore[misc]
    import_items(ws, function_id, batch, items, len(items))
    imports.finish_batch(ws.db, batch, "done", len(items))
    request_build(ws, function_id)
    found = imports.batch_counts(ws.db, batch)
    said = [f"{count(found.imported, 'image')} added to the samples, without a label." if found.imported else ""]
    said.append(f"{count(found.present, 'image is', 'images are')} already among the samples." if found.present else "")
    return Outcome(found.imported, " ".join(filter(None, said)))


def delete_samples(ws: Workspace, function_id: str, sample_ids: Sequence[str]) -> Outcome:
    """Put samples into the bin; a new model follows, trained without them, where any were outside."""
    gone = trash.delete_samples(ws.db, function_id, sample_ids)
    if gone:
        request_retraining(ws, function_id)
    return Outcome(gone, f"{count(gone, 'sample')} moved to the bin.")


def restore_samples(ws: Workspace, function_id: str, sample_ids: Sequence[str]) -> Outcome:
    """Take samples out of the bin, with the labels that they had; a new model follows where any were in it."""
    back = trash.restore_samples(ws.db, function_id, sample_ids)
    if back:
        request_retraining(ws, function_id)
    return Outcome(back, f"{count(back, 'sample')} restored.")
