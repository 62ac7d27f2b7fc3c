"""The share of false accusations that a function's owner tolerates, and the thresholds that follow for its models."""

from __future__ import annotations

from collections.abc import Sequence

from detector.evaluation.thresholds import Thresholds, check_tolerated, find_thresholds
from detector.storage import functions, models
from detector.storage.models import ModelRow
from detector.training.out_of_fold import OutOfFold
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


def refresh_thresholds(ws: Workspace, row: ModelRow) -> None:
    """Bring a model's stored thresholds in line with what its function tolerates now."""
    tolerated = functions.get_function(ws.db, row.function_id).tolerated
    if row.thresholds is None or row.thresholds["tolerated"] != tolerated:
        found = thresholds_of(ws, row, tolerated)
        models.set_thresholds(ws.db, row.id, found.to_json() if found else None)


def thresholds_of(
    ws: Workspace, row: ModelRow, tolerated: float, columns: Sequence[int] | None = None
) -> Thresholds | None:
    """Thresholds of a model from its own out-of-fold file; None where it has none, and so nothing to go by.

    Parameters
    ----------
    columns : sequence of int, optional
        Only these of the model's labels, where others were deleted since.
    """
    data = models.out_of_fold_file(ws.blobs, row.id)
    if data is None:
        return None
    known = OutOfFold.from_bytes(data)
    chosen = list(range(len(row.label_names))) if columns is None else list(columns)
    if len(chosen) < len(row.label_names):
        known = known.restrict(chosen)
    names = [row.label_names[column] for column in chosen]
    return find_thresholds(known.probabilities, known.labels, names, tolerated, known.groups.tolist())
