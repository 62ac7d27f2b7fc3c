"""The files of a model, read back: what is missing or damaged is told apart from all other errors."""

from __future__ import annotations

from detector.errors import ModelFileInvalid, NotFound, StoredModelUnusable
from detector.storage import models
from detector.storage.models import ModelRow
from detector.training.linear_model import LinearModel
from detector.training.model_file import read_model
from detector.training.out_of_fold import OutOfFold
from detector.training.unseen_scores import UnseenScores
from detector.workspace import Workspace


def stored_model(ws: Workspace, row: ModelRow) -> LinearModel:
    """The model itself. Raises StoredModelUnusable."""
    try:
        return read_model(models.model_file(ws.blobs, row.id))
    except NotFound as error:
        raise StoredModelUnusable(row.version, "missing") from error
    except ModelFileInvalid as error:
        raise StoredModelUnusable(row.version, "damaged") from error


def fitting_model(ws: Workspace, row: ModelRow) -> LinearModel:
    """The model, which says of itself what its row says of it; a whole file of another model is refused.

    With another order of its labels every verdict would be turned round, and under another network its numbers mean
    nothing. Raises StoredModelUnusable.
    """
    model = stored_model(ws, row)
    said = (list(model.label_names), model.backbone_key, model.backbone_id)
    if said != (list(row.label_names), row.backbone_key, row.backbone_id):
        raise StoredModelUnusable(row.version, "of another model")
    return model


def stored_out_of_fold(ws: Workspace, row: ModelRow) -> OutOfFold | None:
    """Its out-of-fold probabilities; None where it was trained without folds. Raises StoredModelUnusable."""
    if row.cross_validation is None:
        return None
    data = models.out_of_fold_file(ws.blobs, row.id)
    if data is None:
        raise StoredModelUnusable(row.version, "missing")
    try:
        return OutOfFold.from_bytes(data)
    except ModelFileInvalid as error:
        raise StoredModelUnusable(row.version, "damaged") from error


def stored_unseen(ws: Workspace, row: ModelRow) -> UnseenScores | None:
    """What it would say of sources that it has not seen; None where it is not measured or cannot be read."""
    data = models.unseen_file(ws.blobs, row.id)
    try:
        return UnseenScores.from_bytes(data) if data is not None else None
    except ModelFileInvalid:
        # Of a damaged file nothing is promised. It comes with the next training, as it did with this one.
        return None


def is_usable(ws: Workspace, row: ModelRow) -> bool:
    """Whether both can be read."""
    try:
        fitting_model(ws, row)
        stored_out_of_fold(ws, row)
    except StoredModelUnusable:
        return False
    return True
