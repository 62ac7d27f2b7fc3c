"""The thresholds of a stored model: from which confidence on a label is said at the limit of its function."""

from __future__ import annotations

from collections.abc import Sequence

from detector.imaging.groups import sample_groups
from detector.serving.stored_models import stored_out_of_fold
from detector.storage import functions, models, samples
from detector.storage.models import ModelRow
from detector.storage.stored_names import TRAIN
from detector.training.thresholds import Thresholds, find_thresholds, images_needed, never_validated
from detector.workspace import Workspace


def refresh_thresholds(ws: Workspace, row: ModelRow) -> None:
    """Bring a model's stored thresholds in line with the limit of its function as it is now."""
    false_accusation_limit = functions.get_function(ws.db, row.function_id).false_accusation_limit
    stored = row.thresholds
    # What was stored before different images were counted is made anew once.
    if stored is None or stored["tolerated"] != false_accusation_limit or not stored.get("different"):
        found = thresholds_of(ws, row, false_accusation_limit)
        # Pages ask at every run: a model that is not validated has none, and none must not wait for the write lock.
        if found is not None or stored is not None:
            models.set_thresholds(ws.db, row.id, found.to_json() if found else None)


def with_thresholds(ws: Workspace, row: ModelRow) -> ModelRow:
    """The model with thresholds for the limit of its function as it is now."""
    refresh_thresholds(ws, row)
    return models.get_model(ws.db, row.id)


def why_never_sure(ws: Workspace, row: ModelRow) -> str:
    """Why a model's verdict is can't tell for every image, with the images that it has and needs; else empty."""
    row = with_thresholds(ws, row)
    if row.thresholds is not None:
        return Thresholds.from_json(row.thresholds).too_few()
    groups: dict[str, set[str]] = {label_id: set() for label_id in row.label_ids}
    rows = samples.training_rows(ws.db, row.function_id)
    for item, group in zip(rows, sample_groups(rows), strict=True):
        if item.split == TRAIN and item.label_id in groups:
            groups[item.label_id].add(group)
    different = {name: len(groups[label_id]) for label_id, name in zip(row.label_ids, row.label_names, strict=True)}
    false_accusation_limit = functions.get_function(ws.db, row.function_id).false_accusation_limit
    return never_validated(images_needed(different, false_accusation_limit, len(different)))


def thresholds_of(
    ws: Workspace, row: ModelRow, false_accusation_limit: float, columns: Sequence[int] | None = None
) -> Thresholds | None:
    """Thresholds of a model from its own out-of-fold file; None where it has none, and so nothing to go by.

    Parameters
    ----------
    columns : sequence of int, optional
        Only these of the model's labels, where others were deleted since.
    """
    known = stored_out_of_fold(ws, row)
    if known is None:
        return None
    chosen = list(range(len(row.label_names))) if columns is None else list(columns)
    if len(chosen) < len(row.label_names):
        known = known.restrict(chosen)
    names = [row.label_names[column] for column in chosen]
    return find_thresholds(known.probabilities, known.labels, names, false_accusation_limit, known.groups.tolist())
