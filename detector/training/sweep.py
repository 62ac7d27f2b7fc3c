"""Try every combination of settings in cross-validation and choose by out-of-fold log loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from detector.errors import InvalidInput
from detector.training.basis import Eigenbasis, eigenbasis, gram_matrix
from detector.training.calibration import Floats, Ints, mean_log_loss, probabilities
from detector.training.folds import MAX_FOLDS
from detector.training.scaling import SCALINGS, STANDARDISE, Embeddings, fit_scaling
from detector.training.solver import solve

# Relative C. On 2,000 images the best is near 100 and the loss flat around it; few samples want less, many more.
C_GRID = tuple(float(f"{10.0 ** (exponent / 2):.4g}") for exponent in range(-2, 8))
CLASS_WEIGHTS = ("none", "balanced")
WHOLE, DETAIL, BOTH = "whole", "detail", "both"
VIEW_SETS = {WHOLE: (WHOLE,), DETAIL: (DETAIL,), BOTH: (WHOLE, DETAIL)}
ALL_FEATURES = "all"
# Settings this close in log loss are equally good: the simplest is taken. Also the accuracy of the float32 sweep.
TIE = 1e-4

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class SweepSettings:
    """What the sweep may choose from; None is everything that makes sense. One value fixes a setting.

    Attributes
    ----------
    views : of "whole", "detail", "both"
    features : names of the backbone's feature sets, or "all" for all of them side by side
    scaling : of "standardise", "unit-length"
    c : positive numbers, relative C
    class_weight : of "none", "balanced"
    folds : int, >= 2; fewer are made where a label has fewer groups of samples
    seed : int; another one deals the samples out to other folds
    """

    views: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    scaling: tuple[str, ...] | None = None
    c: tuple[float, ...] | None = None
    class_weight: tuple[str, ...] | None = None
    folds: int = MAX_FOLDS
    seed: int = 0


@dataclass(frozen=True)
class Candidate:
    """One combination. ``C`` is scikit-learn's; ``c`` is it relative to the mean squared norm of the features."""

    views: str
    features: str
    scaling: str
    c: float
    C: float
    class_weight: str


@dataclass(frozen=True)
class SweepRow(Candidate):
    """A candidate and its out-of-fold figures, before calibration."""

    log_loss: float
    accuracy: float
    balanced_accuracy: float
    chosen: bool = False


@dataclass(frozen=True)
class Options:
    """The sweep's axes for one training set, each from the simplest value to the least simple."""

    views: tuple[str, ...]
    features: tuple[str, ...]
    scaling: tuple[str, ...]
    c: tuple[float, ...]
    class_weight: tuple[str, ...]
    slices: Mapping[str, tuple[tuple[int, int], ...]]

    @property
    def settings_count(self) -> int:
        axes = (self.views, self.features, self.scaling, self.c, self.class_weight)
        return int(np.prod([len(axis) for axis in axes]))


@dataclass
class SweepResult:
    """All rows in a fixed order, the chosen one's out-of-fold logits (n, k or 1), and its basis if still at hand."""

    rows: list[SweepRow]
    chosen: SweepRow
    logits: Floats
    basis: Eigenbasis | None = field(default=None, repr=False)


def sweep_options(settings: SweepSettings, embeddings: Embeddings, features: Mapping[str, slice], y: Ints) -> Options:
    """The combinations that make sense here.

    Raises
    ------
    InvalidInput
        The settings name something that these embeddings do not have.
    """
    slices: dict[str, tuple[tuple[int, int], ...]] = {}
    for name, columns in features.items():
        slices[name] = ((int(columns.start or 0), int(columns.stop)),)
    if len(slices) > 1:
        slices[ALL_FEATURES] = tuple(part for parts in tuple(slices.values()) for part in parts)
    view_sets = tuple(name for name, views in VIEW_SETS.items() if all(view in embeddings for view in views))
    counts = np.bincount(y)
    equal = len(set(counts[counts > 0].tolist())) == 1
    grid = settings.c if settings.c is not None else C_GRID
    if not grid or not all(np.isfinite(c) and c > 0 for c in grid):
        raise InvalidInput(f"The setting c is {grid!r}; expected positive numbers.")
    weights = _allowed("class_weight", settings.class_weight, CLASS_WEIGHTS)
    if equal:
        # Balanced already: both are the same regression.
        weights = weights[:1]
    return Options(
        views=_allowed("views", settings.views, view_sets),
        features=_allowed("features", settings.features, tuple(slices)),
        scaling=_allowed("scaling", settings.scaling, SCALINGS),
        c=tuple(sorted({float(c) for c in grid})),
        class_weight=weights,
        slices=slices,
    )


def _allowed(name: str, wanted: tuple[str, ...] | None, offered: tuple[str, ...]) -> tuple[str, ...]:
    if wanted is None:
        return offered
    unknown = [value for value in wanted if value not in offered]
    if unknown or not wanted:
        found = ", ".join(map(repr, unknown)) or "empty"
        raise InvalidInput(f"The setting {name} is {found}; these samples offer {', '.join(offered)}. Choose of those.")
    return tuple(value for value in offered if value in wanted)


def fold_weights(y: Ints, k: int, folds: Ints, fold: int, class_weight: str) -> Floats:
    """Weights of all samples in one fold's training: 0 where held out; balanced as scikit-learn does on the others."""
    return sample_weights(y, k, class_weight, folds != fold)


def sample_weights(y: Ints, k: int, class_weight: str, used: np.ndarray) -> Floats:
    """1 for used samples, or n / (k * samples of the label) when balanced; 0 for the others."""
    if class_weight == "none":
        return used.astype(np.float64)
    counts = np.bincount(y[used], minlength=k)
    return np.asarray(np.where(used, used.sum() / (k * np.maximum(counts, 1.0))[y], 0.0))


def sweep(
    embeddings: Embeddings, y: Ints, k: int, folds: Ints, options: Options, progress: Progress | None = None
) -> SweepResult:
    """Cross-validate all combinations.

    Parameters
    ----------
    embeddings : (n, d) float array by view; the same d for all views
    y : (n,) int array of labels 0..k-1
    k : int, >= 2
    folds : (n,) int array from make_folds
    options : Options
    progress : callable, optional
        Called with (fits done, fits in all, message) many times a second; it may raise to give up.

    Returns
    -------
    SweepResult
        Chosen is the lowest out-of-fold log loss; among those within 1e-4 of it the simplest: fewer views, fewer
        features, no class weights, standardised, stronger penalty, in this order.
    """
    fold_count = int(folds.max()) + 1
    total = options.settings_count * fold_count
    rows: list[SweepRow] = []
    near_best: dict[int, Floats] = {}
    best, best_basis, best_key = np.inf, None, None
    for scaling in options.scaling:
        grams = _GramCache(embeddings, scaling)
        for view_set in options.views:
            for feature_set in options.features:
                done = len(rows) * fold_count
                message = f"Trying {view_set} view{'s' if view_set == BOTH else ''}, {feature_set}, {scaling}"
                if progress is not None:
                    progress(done, total, message)
                basis = basis_for(embeddings, view_set, options.slices[feature_set], scaling, grams)
                report = _report(progress, done, total, message)
                found = _cross_validate(basis, embeddings, y, k, folds, options, report)
                for (c, class_weight), logits in found.items():
                    row = _row(view_set, feature_set, scaling, c, basis, class_weight, logits, y, k)
                    near_best[len(rows)] = logits
                    rows.append(row)
                    if row.log_loss < best:
                        best, best_basis, best_key = row.log_loss, basis, (view_set, feature_set, scaling)
                near_best = {i: logits for i, logits in near_best.items() if rows[i].log_loss <= best + TIE}
    chosen = min(near_best, key=lambda i: _simplicity(rows[i], options))
    rows[chosen] = replace(rows[chosen], chosen=True)
    row = rows[chosen]
    same_basis = best_key == (row.views, row.features, row.scaling)
    return SweepResult(rows, row, near_best[chosen], best_basis if same_basis else None)


def basis_for(
    embeddings: Embeddings,
    view_set: str,
    slices: tuple[tuple[int, int], ...],
    scaling: str,
    grams: _GramCache | None = None,
) -> Eigenbasis:
    """The eigenbasis of one choice of views, features and scaling."""
    views = VIEW_SETS[view_set]
    fitted = fit_scaling(embeddings, views, slices, scaling)
    return eigenbasis(embeddings, fitted, None if grams is None else lambda: grams.sum_of_blocks(views, slices))


class _GramCache:
    """Gram matrices of single blocks under one scaling: those of several views or feature sets are their sums."""

    def __init__(self, embeddings: Embeddings, scaling: str) -> None:
        self.embeddings, self.scaling = embeddings, scaling
        self.blocks: dict[tuple[str, tuple[int, int]], Floats] = {}

    def sum_of_blocks(self, views: tuple[str, ...], slices: tuple[tuple[int, int], ...]) -> Floats:
        total: Floats | None = None
        for view in views:
            for columns in slices:
                block = self.blocks.get((view, columns))
                if block is None:
                    fitted = fit_scaling(self.embeddings, (view,), (columns,), self.scaling)
                    block = self.blocks[view, columns] = gram_matrix(self.embeddings, fitted)
                total = block.copy() if total is None else total + block
        assert total is not None
        return total / (len(views) * (1 if self.scaling == STANDARDISE else len(slices)))


def _cross_validate(
    basis: Eigenbasis,
    embeddings: Embeddings,
    y: Ints,
    k: int,
    folds: Ints,
    options: Options,
    report: Callable[[int], None] | None,
) -> dict[tuple[float, str], Floats]:
    fold_count, n = int(folds.max()) + 1, len(y)
    settings = [(c, weight) for weight in options.class_weight for c in options.c]
    by_weight = {
        weight: [fold_weights(y, k, folds, fold, weight) for fold in range(fold_count)]
        for weight in options.class_weight
    }
    weights = np.stack([column for _, weight in settings for column in by_weight[weight]], axis=1).astype(np.float32)
    c = np.repeat([c / basis.mean_squared_norm for c, _ in settings], fold_count)
    solution = solve(
        torch.from_numpy(basis.design(embeddings, np.float32)),
        torch.from_numpy(basis.eigenvalues),
        torch.from_numpy(y),
        k,
        torch.from_numpy(weights),
        torch.from_numpy(c),
        solved=report,
    )
    logits = solution.logits.numpy().reshape(n, len(settings), fold_count, -1)
    held_out = logits[np.arange(n), :, folds].astype(np.float64)
    return {setting: np.ascontiguousarray(held_out[:, index]) for index, setting in enumerate(settings)}


def _report(progress: Progress | None, done: int, total: int, message: str) -> Callable[[int], None] | None:
    return None if progress is None else lambda solved: progress(done + solved, total, message)


def _row(
    views: str,
    features: str,
    scaling: str,
    c: float,
    basis: Eigenbasis,
    class_weight: str,
    logits: Floats,
    y: Ints,
    k: int,
) -> SweepRow:
    correct = probabilities(logits).argmax(axis=1) == y
    per_label = [float(correct[y == label].mean()) for label in range(k)]
    return SweepRow(
        views=views,
        features=features,
        scaling=scaling,
        c=c,
        C=c / basis.mean_squared_norm,
        class_weight=class_weight,
        log_loss=mean_log_loss(logits, y),
        accuracy=float(correct.mean()),
        balanced_accuracy=float(np.mean(per_label)),
    )


def _simplicity(row: SweepRow, options: Options) -> tuple[int, int, int, int, float]:
    return (
        options.views.index(row.views),
        options.features.index(row.features),
        options.class_weight.index(row.class_weight),
        options.scaling.index(row.scaling),
        row.c,
    )
