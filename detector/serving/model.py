"""A stored model made ready to answer: loaded once, speaking in the function's labels of today."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from detector.backbones import get_backbone
from detector.backbones.inner import has_inner_features
from detector.errors import BackboneUnavailable, NoModel, NotFound, StorageTrouble, StoredModelUnusable
from detector.formatting import count
from detector.imaging.file_look import FileLook
from detector.jobs import request_build
from detector.serving.coverage import coverage_of
from detector.serving.likeness import likeness_model
from detector.serving.stored_models import fitting_model
from detector.serving.thresholds import thresholds_of
from detector.storage import functions, models, samples
from detector.storage.functions import Label
from detector.storage.models import ModelRow
from detector.storage.stored_names import WHOLE
from detector.training.coverage import Coverage, Miss
from detector.training.likeness import LikenessModel
from detector.training.linear_model import LinearModel
from detector.training.readiness import missing_sentence
from detector.training.recentring import Checked, Recentring, check
from detector.training.thresholds import CANT_TELL, MODERATE, NOT_MEASURED, STRONG, Thresholds, never_validated
from detector.training.unseen_promise import in_counts
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone


@dataclass(frozen=True)
class ServingModel:
    """One model version with the labels that it may still answer with.

    Attributes
    ----------
    labels : the function's labels, in the order of the columns of ``probabilities``
    columns : indices into the model's own label order
    thresholds : when a label is said at all, its labels in the order of ``labels`` but by the names of the training;
        None for a model that is not validated: it is never sure
    coverage : what the files of its samples cover; None where that is not known, and no picture is held back
    judge_unlike : whether pictures are judged all the same whose files it does not cover
    recentring : how the version is adapted to the place where it is used; None where it is not
    likeness : what is usual among its samples; None where that is not known, and no picture is held back
    """

    row: ModelRow
    model: LinearModel
    labels: tuple[Label, ...]
    columns: tuple[int, ...]
    thresholds: Thresholds | None
    coverage: Coverage | None = None
    judge_unlike: bool = False
    recentring: Recentring | None = None
    likeness: LikenessModel | None = None

    @property
    def asks_rescaling(self) -> bool:
        """Whether it matters how much a picture was enlarged, so that its spectrum has to be looked at."""
        return self.coverage is not None and self.coverage.asks_rescaling

    def misses(self, look: FileLook | None) -> list[Miss]:
        """What of a picture's file was never tried with every label; empty where it compares, or is not known."""
        if self.coverage is None or look is None:
            return []
        return self.coverage.misses(look, {label.id: label.name for label in self.labels})

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
        given = {view: views.get(view, views[WHOLE]) for view in self.model.views}
        as_trained = self.restrict(self.model.predict_proba(given))
        return as_trained if self.recentring is None else self.recentring.shift(as_trained)

    def without_recentring(self) -> ServingModel:
        """The model as it was trained: for its samples, whose place is not the one that it is adapted to."""
        return replace(self, recentring=None)

    @property
    def offset(self) -> float | None:
        """What is added to the log odds of the second label; None where the model answers as it was trained."""
        return self.recentring.offset if self.recentring is not None else None

    def grades(self, probabilities: np.ndarray) -> list[str]:
        """The grade of each row's verdict: see `detector.training.thresholds.GRADES`."""
        if self.thresholds is None:
            return [CANT_TELL] * len(probabilities)
        grades = self.thresholds.graded(probabilities)
        if self.recentring is None:
            return grades
        # Neither promise was measured on shifted scores: what counts is how the pictures fared that it is adapted to.
        never = {label for label, item in enumerate(self._checked) if item.refuted}
        return [
            CANT_TELL if 1 - best in never else MODERATE if grade == STRONG else grade
            for grade, best in zip(grades, probabilities.argmax(axis=1).tolist(), strict=True)
        ]

    def why_unsure(self, label: str) -> str:
        """Why this label (by its name of today) is never said, where too few images are the reason; else empty."""
        if self.thresholds is None:
            return never_validated()
        if self.recentring is not None and (against := self._against(label)).refuted:
            return f"{self._adapted()} {against.support}"
        return self.thresholds.too_few() or self.thresholds.too_few(self._as_trained(label))

    def why_not_strong(self, label: str) -> str:
        """Why a verdict that names this label (by its name of today) is not strong."""
        if self.recentring is not None:
            return f"{self._adapted()} {self._against(label).support}"
        if self.thresholds is None or self.thresholds.unseen is None:
            return NOT_MEASURED
        return self.thresholds.unseen.why_not.get(
            self._as_trained(label), "For pictures from elsewhere this score is not high enough."
        )

    def why_strong(self, label: str) -> str:
        """What was seen on sources that were left out, in counts, for a label by its name of today."""
        assert self.thresholds is not None
        assert self.thresholds.unseen is not None
        return in_counts(label, self.thresholds.unseen.counts[self._as_trained(label)])

    def _adapted(self) -> str:
        assert self.recentring is not None
        return f"Adapted to {count(self.recentring.n, 'picture')} of yours, and so moderate at most."

    @cached_property
    def _checked(self) -> tuple[Checked, Checked]:
        assert self.recentring is not None
        return check(self.recentring, [item.name for item in self.labels], self.thresholds)

    def _against(self, label: str) -> Checked:
        """How the pictures of the other label fared, which a verdict that names this one would accuse."""
        return next(item for item in self._checked if item.other == label)

    def _as_trained(self, label: str) -> str:
        assert self.thresholds is not None
        return self.thresholds.label_names[[item.name for item in self.labels].index(label)]

    def restrict(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities in the model's own order -> over ``labels``, renormalised where a label was deleted."""
        if self.columns == tuple(range(probabilities.shape[1])):
            # Dividing by a sum of nearly 1 would change the last digit for nothing.
            return probabilities
        return renormalised(probabilities[:, list(self.columns)])


def renormalised(kept: np.ndarray) -> np.ndarray:
    """(n, k) probabilities of some of a model's labels, so that each row sums to 1 again: a label was deleted."""
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
    StoredModelUnusable
        Its file is; a build was asked for.
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
            model = _stored(ws, row)
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
    columns = tuple(column for column, _ in alive)
    thresholds = _thresholds(ws, row, columns)
    coverage = coverage_of(ws, row) if thresholds is not None else None
    alive_labels = tuple(label for _, label in alive)
    likeness = likeness_model(ws, row) if thresholds is not None else None
    serving = ServingModel(
        row, model, alive_labels, columns, thresholds, coverage, function.judge_unlike, likeness=likeness
    )
    return replace(serving, recentring=Recentring.from_json(row.recentring)) if row.recentring else serving


def _stored(ws: Workspace, row: ModelRow) -> LinearModel:
    try:
        return fitting_model(ws, row)
    except StoredModelUnusable:
        # Whoever met it is told; that a new one comes must not depend on anybody.
        with suppress(NotFound, StorageTrouble):
            request_build(ws, row.function_id)
        raise


def _thresholds(ws: Workspace, row: ModelRow, columns: tuple[int, ...]) -> Thresholds | None:
    if row.thresholds is None:
        return None
    if len(columns) < len(row.label_ids):
        # A label was deleted; the probabilities of the others are larger now.
        return thresholds_of(ws, row, row.thresholds["tolerated"], columns)
    return Thresholds.from_json(row.thresholds)


def serving_backbone(ws: Workspace, serving: ServingModel) -> Backbone:
    """The loaded backbone that a model was trained on.

    Raises
    ------
    BackboneUnavailable
        The weights cannot be had, or are others than those of the training: their numbers mean something else.
    """
    inner = has_inner_features(serving.row.backbone_key)
    backbone = get_backbone(serving.row.backbone_id, serving.row.precision, ws.settings, inner)
    backbone = backbone.normalising(serving.row.normalise)
    if backbone.key != serving.row.backbone_key:
        raise BackboneUnavailable(
            serving.row.backbone_id,
            f"its weights differ from those that model {serving.row.version} was trained with",
            "Give the same weights again, or retrain.",
        )
    return backbone


def what_is_missing(ws: Workspace, function_id: str) -> str:
    """Why a function has no model yet, in one sentence."""
    counts = samples.count_by(ws.db, function_id)
    names = {label.name: counts.by_label.get(label.id, 0) for label in functions.list_labels(ws.db, function_id)}
    note = functions.get_function(ws.db, function_id).training_note
    return missing_sentence(names) or note or "The first training has not ended yet. Wait until it is done."
