"""The limit on false accusations: the share that a function's owner allows."""

from __future__ import annotations

from detector.serving.thresholds import refresh_thresholds
from detector.storage import functions, models
from detector.storage.acting import MANAGE, needs
from detector.training.thresholds import check_false_accusation_limit
from detector.workspace import Workspace


@needs(MANAGE, "changing the limit")
def set_false_accusation_limit(ws: Workspace, function_id: str, false_accusation_limit: float) -> None:
    """Set another limit; the thresholds of all versions follow at once, without any training.

    Raises
    ------
    InvalidInput
        The limit cannot be kept.
    NotFound
    """
    functions.set_false_accusation_limit(ws.db, function_id, check_false_accusation_limit(false_accusation_limit))
    for row in models.list_models(ws.db, function_id):
        refresh_thresholds(ws, row)
