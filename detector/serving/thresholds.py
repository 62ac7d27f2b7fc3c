"""The thresholds of a stored model: from which confidence on a label is said at the limit of its function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from detector.imaging.groups import sample_groups
from detector.serving.known_sources import why_sources_prove_nothing
from detector.serving.stored_models import stored_out_of_fold, stored_unseen
from detector.storage import functions, models, samples
from detector.storage.models import ModelRow
from detector.storage.stored_names import TRAIN
from detector.training.thresholds import (
    Thresholds,
    count_grades,
    find_thresholds,
    images_needed,
    never_validated,
)
from detector.training.unseen_promise import Unseen, no_promise
from detector.training.unseen_thresholds import find_unseen
from detector.workspace import Workspace

_LABEL_DELETED = "A label was deleted since the training. The next training measures it again."


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
    found = find_thresholds(
        known.probabilities, known.labels, names, false_accusation_limit, known.groups.tolist(), known.copies
    )
    unseen = _unseen(ws, row, found) if len(chosen) == len(row.label_names) else no_promise(names, _LABEL_DELETED)
    found = replace(found, unseen=unseen)
    return replace(found, grades=count_grades(found, known.probabilities, known.labels))


def renew_thresholds(ws: Workspace, row: ModelRow) -> None:
    """Find a model's thresholds again: what is known of its sources is another thing than before."""
    found = thresholds_of(ws, row, functions.get_function(ws.db, row.function_id).false_accusation_limit)
    models.set_thresholds(ws.db, row.id, found.to_json() if found else None)


def _unseen(ws: Workspace, row: ModelRow, found: Thresholds) -> Unseen | None:
    """What may be promised of sources that the model has not seen; None where that is not measured."""
    scores = stored_unseen(ws, row)
    if scores is None:
        return None
    names = dict(zip(row.label_ids, row.label_names, strict=True))
    why = why_sources_prove_nothing(ws, row.function_id, names, samples.training_rows(ws.db, row.function_id))
    if why:
        return no_promise(found.label_names, why)
    return find_unseen(scores, found.above, found.label_names, found.false_accusation_limit)
