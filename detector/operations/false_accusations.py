"""The share of false accusations that a function's owner tolerates."""

from __future__ import annotations

from detector.serving.thresholds import refresh_thresholds
from detector.storage import functions, models
from detector.training.thresholds import check_tolerated
from detector.workspace import Workspace


def set_tolerated(ws: Workspace, function_id: str, tolerated: float) -> None:
    """Tolerate another share; the thresholds of all versions follow at once, without any training.

    Raises
    ------
    InvalidInput
        The share cannot be kept.
    NotFound
    """
    functions.set_tolerated(ws.db, function_id, check_tolerated(tolerated))
    for row in models.list_models(ws.db, function_id):
        refresh_thresholds(ws, row)
