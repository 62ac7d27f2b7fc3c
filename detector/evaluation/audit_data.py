"""What every part of an audit looks at: the live model, and the samples that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from detector.arrays import Floats, Ints
from detector.errors import NotAuditable
from detector.imaging.groups import sample_groups
from detector.serving.model import load_serving_model
from detector.serving.stored_copies import read_copies
from detector.serving.stored_models import stored_out_of_fold
from detector.storage import embeddings, functions, samples
from detector.storage.models import ModelRow
from detector.storage.samples import TrainingRow
from detector.storage.stored_names import TRAIN
from detector.training.copies import Copies
from detector.training.folds import make_folds
from detector.training.linear_model import LinearModel
from detector.training.precomputed import PreparedSamples
from detector.training.refit import Hyperparameters, prepare_rows
from detector.training.train import training_set_fingerprint
from detector.workspace import Workspace


@dataclass(frozen=True, eq=False)
class AuditData:
    """The samples of one model's training, in the order of their image hashes.

    Attributes
    ----------
    model : ModelRow
    linear : LinearModel
    rows : n TrainingRow
    y : (n,) int array of indices into ``label_names``
    label_names : the labels that the model knows
    groups : n str; samples of one name are near-duplicates or belong together otherwise
    folds : (n,) int array, the folds of the training; None where there were none
    views : (n, d) float32 array by view
    out_of_fold : (n, k) calibrated probabilities, None without folds
    copies : Copies or None
        The degraded copies that the model was trained on.
    """

    model: ModelRow
    linear: LinearModel
    rows: Sequence[TrainingRow]
    y: Ints
    groups: Sequence[str]
    folds: Ints | None
    views: dict[str, np.ndarray]
    out_of_fold: Floats | None
    copies: Copies | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.linear.label_names

    @property
    def k(self) -> int:
        return len(self.linear.label_names)

    @property
    def sources(self) -> np.ndarray:
        """(n,) source tags, empty strings where there is none."""
        return np.array([row.source or "" for row in self.rows], dtype=object)

    @property
    def fold_count(self) -> int:
        return int(self.folds.max()) + 1 if self.folds is not None else 0

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The hyperparameters that the sweep chose."""
        return Hyperparameters.of_model(self.model.hyperparameters, self.linear.slices)

    @cached_property
    def prepared(self) -> PreparedSamples:
        """All samples and copies at these hyperparameters: several parts need them."""
        return prepare_rows(self.views, self.hyperparameters, self.copies)


def load_audit_data(ws: Workspace, function_id: str) -> AuditData:
    """Collect what the live model was trained on.

    Raises
    ------
    NoModel
        Nothing is trained yet.
    NotAuditable
        Samples or labels are others today than when the model was trained.
    """
    serving = load_serving_model(ws, function_id)
    model, linear = serving.row, serving.model
    embedded = embeddings.embedded_hashes(ws.db, function_id, model.backbone_key)
    everything = [row for row in samples.training_rows(ws.db, function_id) if row.image_hash in embedded]
    name_of = dict(zip(model.label_ids, linear.label_names, strict=True))
    chosen = [
        (row, group)
        for row, group in zip(everything, sample_groups(everything), strict=True)
        if row.label_id in name_of and row.split == TRAIN
    ]
    rows = [row for row, _ in chosen]
    groups = [group for _, group in chosen]
    names = [name_of[row.label_id] for row in rows if row.label_id is not None]
    hashes = [row.image_hash for row in rows]
    if training_set_fingerprint(model.backbone_key, hashes, names) != linear.training_fingerprint:
        raise NotAuditable(model.version)
    index = {name: place for place, name in enumerate(linear.label_names)}
    y = np.array([index[name] for name in names], dtype=np.int64)
    out_of_fold = _out_of_fold(ws, model, hashes)
    chosen_folds = model.hyperparameters
    folds = None
    if out_of_fold is not None:
        folds = make_folds(y, groups, chosen_folds["folds"], chosen_folds["seed"])
    views = embeddings.read_embeddings(ws.db, model.backbone_key, hashes)
    copies = None
    if chosen_folds.get("copies"):
        function = functions.get_function(ws.db, function_id)
        copies = read_copies(ws, function, model.backbone_key, hashes, views)
    return AuditData(
        model=model,
        linear=linear,
        rows=rows,
        y=y,
        groups=groups,
        folds=folds,
        views=views,
        out_of_fold=out_of_fold if folds is not None else None,
        copies=copies,
    )


def _out_of_fold(ws: Workspace, model: ModelRow, hashes: Sequence[str]) -> Floats | None:
    known = stored_out_of_fold(ws, model)
    if known is None:
        return None
    by_hash = known.by_hash()
    return np.stack([by_hash[item] for item in hashes]).astype(np.float64)
