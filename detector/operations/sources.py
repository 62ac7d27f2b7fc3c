"""Sources given to samples by hand, or confirmed, after their import."""

from __future__ import annotations

from collections.abc import Sequence

from detector.jobs import request_audit
from detector.serving.thresholds import renew_thresholds
from detector.storage import evaluations, functions, models, samples
from detector.workspace import Workspace


def confirm_sources(ws: Workspace, function_id: str, names: Sequence[str] | None = None) -> int:
    """Say that sources guessed from folders are collections or generators, those named or all.

    Returns how many samples they have. The figures stay as they are: only what may be promised by them changes.
    """
    changed = samples.confirm_sources(ws.db, function_id, names)
    live = functions.get_function(ws.db, function_id).live_model_id
    if changed and live is not None:
        renew_thresholds(ws, models.get_model(ws.db, live))
    return changed


def set_source(ws: Workspace, function_id: str, sample_ids: Sequence[str], source: str | None) -> int:
    """Give samples a source, or take it away with None; returns how many changed.

    Nothing is trained anew, since no model looks at sources. What the live model's audit said of them was about the old
    ones: that part is forgotten, and the audit asked for again.
    """
    changed = samples.set_source(ws.db, function_id, sample_ids, source)
    live = functions.get_function(ws.db, function_id).live_model_id
    if changed and live is not None:
        for part in (evaluations.SOURCES, evaluations.UNSEEN):
            evaluations.delete_part(ws.db, live, part)
        models.delete_unseen_file(ws.blobs, live)
        renew_thresholds(ws, models.get_model(ws.db, live))
        request_audit(ws, function_id, live)
    return changed
