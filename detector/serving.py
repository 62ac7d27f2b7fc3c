"""A stored model made ready to answer: loaded once, speaking in the function's labels of today."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from detector.errors import NoModel, NotFound
from detector.storage import functions, models, samples
from detector.storage.functions import Label
from detector.storage.models import ModelRow
from detector.training.linear_model import LinearModel
from detector.training.model_file import read_model
from detector.training.train import missing_sentence
from detector.workspace import Workspace


@dataclass(frozen=True)
class ServingModel:
    """One model version with the labels that it may still answer with.

    Attributes
    ----------
    labels : the function's labels, in the order of the columns of ``probabilities``
    columns : indices into the model's own label order
    """

    row: ModelRow
    model: LinearModel
    labels: tuple[Label, ...]
    columns: tuple[int, ...]

    def probabilities(self, views: dict[str, np.ndarray]) -> np.ndarray:
        """Calibrated probabilities.

        Parameters
        ----------
        views : dict of str to (n, dimension)
            "whole", and "detail" where there is one; a missing detail view is stood in for by the whole one.

        Returns
        -------
        (n, k) float64, rows sum to 1
        """
        given = {view: views.get(view, views["whole"]) for view in self.model.views}
        return self.restrict(self.model.predict_proba(given))

    def restrict(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities in the model's own order -> over ``labels``, renormalised where a label was deleted."""
        kept = probabilities[:, list(self.columns)]
        return kept / np.maximum(kept.sum(axis=1, keepdims=True), 1e-300)


_cache: OrderedDict[tuple[str, str], LinearModel] = OrderedDict()
_lock = threading.Lock()
_CACHED_MODELS = 8


def load_serving_model(ws: Workspace, function_id: str, model_id: str | None = None) -> ServingModel:
    """The live model of a function, or the version asked for.

    Raises
    ------
    NoModel
        Nothing is trained yet; the sentence says what is missing.
    NotFound
        There is no such function or model.
    """
    function = functions.get_function(ws.db, function_id)
    wanted = model_id or function.live_model_id
    if wanted is None:
        raise NoModel(what_is_missing(ws, function_id))
    row = models.get_model(ws.db, wanted)
    if row.function_id != function_id:
        raise NotFound("model", wanted)
    key = (str(ws.settings.data_dir), wanted)
    with _lock:
        model = _cache.get(key)
        if model is None:
            model = read_model(models.model_file(ws.blobs, wanted))
            _cache[key] = model
            while len(_cache) > _CACHED_MODELS:
                _cache.popitem(last=False)
        _cache.move_to_end(key)
    labels = {label.id: label for label in functions.list_labels(ws.db, function_id)}
    alive = [(column, labels[label_id]) for column, label_id in enumerate(row.label_ids) if label_id in labels]
    if len(alive) < 2:
        raise NoModel(
            "The model's labels were deleted, so that fewer than two are left. Label images with two labels to train a "
            "new one."
        )
    return ServingModel(row, model, tuple(label for _, label in alive), tuple(column for column, _ in alive))


def what_is_missing(ws: Workspace, function_id: str) -> str:
    """Why a function has no model yet, in one sentence."""
    counts = samples.count_by(ws.db, function_id)
    names = {label.name: counts.by_label.get(label.id, 0) for label in functions.list_labels(ws.db, function_id)}
    note = functions.get_function(ws.db, function_id).training_note
    return missing_sentence(names) or note or "The first training has not ended yet. Wait until it is done."
