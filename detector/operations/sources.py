"""Sources given to samples by hand, or confirmed, after their import."""

from __future__ import annotations

from collections.abc import Sequence

from detector.jobs import request_audit, request_retraining
from detector.serving.known_sources import training_looks_at_sources
from detector.serving.thresholds import renew_thresholds
from detector.storage import evaluations, functions, models, samples
from detector.storage.acting import LABEL, needs
from detector.workspace import Workspace


@needs(LABEL, "naming sources")
def confirm_sources(ws: Workspace, function_id: str, names: Sequence[str] | None = None) -> int:
    """Say that sources guessed from folders are collections or generators, those named or all.

    Returns how many samples they have. The figures stay as they are: only what may be promised by them changes. Where
    the sources say enough now, settings are chosen by them as well, and a new model follows.
    """
    changed = samples.confirm_sources(ws.db, function_id, names)
    live = functions.get_function(ws.db, function_id).live_model_id
    if changed and live is not None:
        renew_thresholds(ws, models.get_model(ws.db, live))
        if training_looks_at_sources(ws, function_id):
            request_retraining(ws, function_id)
    return changed


@needs(LABEL, "naming sources")
def set_source(ws: Workspace, function_id: str, sample_ids: Sequence[str], source: str | None) -> int:
    """Give samples a source, or take it away with None; returns how many changed.

    What the live model's audit said of them was about the old ones: that part is forgotten, and the audit asked for
    again. A new model follows only where the sources, before or now, have a say in its settings.
    """
    changed = samples.set_source(ws.db, function_id, sample_ids, source)
    live = functions.get_function(ws.db, function_id).live_model_id
    if changed and live is not None:
        for part in (evaluations.SOURCES, evaluations.UNSEEN):
            evaluations.delete_part(ws.db, live, part)
        models.delete_unseen_file(ws.blobs, live)
        renew_thresholds(ws, models.get_model(ws.db, live))
        request_audit(ws, function_id, live)
        if training_looks_at_sources(ws, function_id):
            request_retraining(ws, function_id)
    return changed
