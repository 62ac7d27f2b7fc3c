"""Train again at settings that are chosen already: without some samples, or many subsets at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from detector.arrays import Floats, Ints
from detector.training.copies import Copies, stacked
from detector.training.options import VIEW_SETS
from detector.training.precomputed import PreparedSamples
from detector.training.scaling import Embeddings, row_chunks
from detector.training.single_thread import product
from detector.training.solver import SWEEP_TOLERANCE, solve
from detector.training.sweep import prepare_choice, sample_weights


@dataclass(frozen=True)
class Hyperparameters:
    """One choice of hyperparameters, as the sweep made it.

    ``slices`` are the columns of the chosen feature set; ``c`` is relative to the mean squared norm of the features, so
    that it means the same for other samples. ``steadied`` and ``softened`` are those of models with copies, see
    ``steadying``; of models that were stored before there was such a thing they are off.
    """

    views: str
    slices: tuple[tuple[int, int], ...]
    scaling: str
    c: float
    class_weight: str
    steadied: bool = False
    softened: float = 0.0

    @classmethod
    def of_model(cls, hyperparameters: dict[str, Any], slices: tuple[tuple[int, int], ...]) -> Hyperparameters:
        """From a model's row and its file."""
        return cls(
            views=hyperparameters["views"],
            slices=slices,
            scaling=hyperparameters["scaling"],
            c=hyperparameters["c"],
            class_weight=hyperparameters["class_weight"],
            steadied=bool(hyperparameters.get("steadied", False)),
            softened=float(hyperparameters.get("softened", 0.0)),
        )

    @property
    def view_names(self) -> tuple[str, ...]:
        """The views that such a model reads."""
        return VIEW_SETS[self.views]


@dataclass(frozen=True, eq=False)
class FittedModels:
    """P models on one scaling: ``coefficients`` (P, D, columns), ``intercept`` (P, columns), one column for two labels.

    ``logits`` (n, P, columns) are those of the samples that they were made of, held out or not.
    """

    prepared: PreparedSamples
    coefficients: Floats
    intercept: Floats
    logits: Floats

    def says(self, embeddings: Embeddings, which: Ints) -> Ints:
        """The label that model ``which[i]`` gives to row i of other embeddings: (m,) indices."""
        return predicted(self.logits_of(embeddings, which))

    def logits_of(self, embeddings: Embeddings, which: Ints) -> Floats:
        """(m, columns) logits that model ``which[i]`` gives to row i of other embeddings."""
        result = np.empty((len(which), self.intercept.shape[1]))
        for rows in row_chunks(len(which)):
            features = self.prepared.scaling.apply(embeddings, rows)
            for model in np.unique(which[rows]):
                mine = np.flatnonzero(which[rows] == model)
                said = product(torch.from_numpy(features[mine]), torch.from_numpy(self.coefficients[model]))
                result[rows.start + mine] = said.numpy()
        return np.asarray(result + self.intercept[which])


def predicted(logits: Floats) -> Ints:
    """The most probable label of each row of logits, along the last axis."""
    if logits.shape[-1] == 1:
        return (logits[..., 0] > 0).astype(np.int64)
    return np.asarray(logits.argmax(axis=-1), dtype=np.int64)


def fit_subsets(
    embeddings: Embeddings,
    y: Ints,
    k: int,
    hyperparameters: Hyperparameters,
    used: np.ndarray,
    coefficients: bool = True,
    prepared: PreparedSamples | None = None,
    copies: Copies | None = None,
) -> FittedModels:
    """Train one model on each of many subsets of the samples, on the scaling of all of them.

    Parameters
    ----------
    embeddings : (n, d) float array by view
    y : (n,) int array of labels 0..k-1
    k : int
    hyperparameters : Hyperparameters
    used : (n, P) bool array
        Which samples each model is trained on; every label must be among them.
    coefficients : bool
        False leaves them empty: the logits of the given samples are all that is wanted.
    prepared : PreparedSamples, optional
        Those of these embeddings, settings and copies, where they are at hand: see `prepare_rows`.
    copies : Copies, optional
        Degraded copies; each is used where its sample is.
    """
    if prepared is None:
        prepared = prepare_rows(embeddings, hyperparameters, copies)
    n, rows = len(y), stacked(embeddings, copies)
    embeddings, y, used = rows.views, y[rows.of], used[rows.of]
    weights = np.stack(
        [sample_weights(y, k, hyperparameters.class_weight, column, rows.weights) for column in used.T], axis=1
    )
    solution = solve(
        prepared.design(embeddings),
        torch.from_numpy(y),
        k,
        torch.from_numpy(weights),
        torch.full((used.shape[1],), hyperparameters.c / prepared.mean_squared_norm, dtype=torch.float64),
        tolerance=SWEEP_TOLERANCE / 100.0,
        softened=hyperparameters.softened,
    )
    models, columns, _ = solution.vectors.shape
    if coefficients:
        flat = prepared.coefficients(embeddings, solution.vectors.flatten(0, 1))
        by_model = flat.reshape(models, columns, -1).transpose(0, 2, 1)
    else:
        by_model = np.empty((models, 0, columns))
    return FittedModels(prepared, by_model, solution.intercept.numpy(), solution.logits[:n].numpy())


def prepare_rows(
    embeddings: Embeddings, hyperparameters: Hyperparameters, copies: Copies | None = None
) -> PreparedSamples:
    """Samples and their copies, on the scaling of the samples alone, made ready for many subsets."""
    return prepare_choice(
        stacked(embeddings, copies).views,
        hyperparameters.views,
        hyperparameters.slices,
        hyperparameters.scaling,
        scaled_on=embeddings,
        steadied_by=copies if hyperparameters.steadied else None,
    )


def fit_without(
    embeddings: Embeddings,
    y: Ints,
    k: int,
    hyperparameters: Hyperparameters,
    held_out: np.ndarray,
    copies: Copies | None = None,
) -> Ints:
    """What a model says of the held-out samples that has never met them, not even in the scaling.

    Parameters are those of `fit_subsets`; ``held_out`` is an (n,) bool array.

    Returns
    -------
    (held_out.sum(),) int array of labels
    """
    return predicted(logits_without(embeddings, y, k, hyperparameters, ~held_out, held_out, copies))


def logits_without(
    embeddings: Embeddings,
    y: Ints,
    k: int,
    hyperparameters: Hyperparameters,
    used: np.ndarray,
    judged: np.ndarray,
    copies: Copies | None = None,
) -> Floats:
    """Logits of some samples by a model that was made, scaling included, of others alone.

    Parameters are those of `fit_subsets`; ``used`` and ``judged`` are (n,) bool arrays without a sample in common.

    Returns
    -------
    (judged.sum(), columns) float array
    """
    rest = {view: embeddings[view][used] for view in hyperparameters.view_names}
    theirs = copies.of_rows(np.flatnonzero(used)) if copies is not None else None
    everything = np.ones((int(used.sum()), 1), dtype=bool)
    models = fit_subsets(rest, y[used], k, hyperparameters, everything, copies=theirs)
    away = {view: embeddings[view][judged] for view in hyperparameters.view_names}
    return models.logits_of(away, np.zeros(int(judged.sum()), dtype=np.int64))
