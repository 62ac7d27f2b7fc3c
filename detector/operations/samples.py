"""Samples of a function: put into the bin, and taken out of it. How they come stands in imports and capture."""

from __future__ import annotations

from collections.abc import Sequence

from detector.formatting import count
from detector.jobs import request_retraining
from detector.operations.outcome import Outcome
from detector.storage import trash
from detector.storage.acting import MANAGE, needs
from detector.workspace import Workspace


@needs(MANAGE, "deleting samples")
def delete_samples(ws: Workspace, function_id: str, sample_ids: Sequence[str]) -> Outcome:
    """Put samples into the bin; a new model follows, trained without them, where any were outside."""
    gone = trash.delete_samples(ws.db, function_id, sample_ids)
    if gone:
        request_retraining(ws, function_id)
    return Outcome(gone, f"{count(gone, 'sample')} moved to the bin.")


@needs(MANAGE, "restoring samples")
def restore_samples(ws: Workspace, function_id: str, sample_ids: Sequence[str]) -> Outcome:
    """Take samples out of the bin, with the labels that they had; a new model follows where any were in it."""
    back = trash.restore_samples(ws.db, function_id, sample_ids)
    if back:
        request_retraining(ws, function_id)
    return Outcome(back, f"{count(back, 'sample')} restored.")
