"""Try every combination of settings in cross-validation and choose by out-of-fold log loss."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

import numpy as np
import torch

from detector.arrays import Floats, Ints
from detector.system.memory import give_back_freed_memory
from detector.training.calibration import mean_log_loss, probabilities
from detector.training.copies import Copies
from detector.training.design import Design
from detector.training.gram_cache import GRAM_CACHE, content_digest
from detector.training.options import BOTH, VIEW_SETS, Options, SweepRow
from detector.training.options import SweepSettings as SweepSettings  # callers of a sweep find its settings here too
from detector.training.precomputed import PreparedSamples, gram_of, prepare
from detector.training.scaling import LARGE, STANDARDISE, Embeddings, fit_scaling
from detector.training.single_thread import run_each_single_threaded
from detector.training.solver import LARGE_BLOCK_NUMBERS, solve
from detector.training.steadying import steadied

# Up to so many samples each scaling is tried on a core of its own, with more all cores work on one after the other.
ONE_CORE_ROWS = 3000
# Settings this close in log loss are equally good: the simplest is taken. Also the accuracy of the float32 sweep.
TIE = 1e-4
# Of so many of the best the out-of-fold logits are kept: whoever knows more than folds do chooses among them.
SHORTLIST = 5

Progress = Callable[[int, int, str], None]


@dataclass
class SweepResult:
    """All rows in a fixed order, the chosen one's out-of-fold logits (n, k or 1), and its samples if still at hand.

    ``shortlist`` has the out-of-fold logits of the best settings and of the chosen one, by their place in ``rows``;
    ``at_hand`` what is still there of their prepared samples, by their choice of features. ``digest`` names the
    embeddings (see ``gram_cache``).
    """

    rows: list[SweepRow]
    chosen: SweepRow
    logits: Floats
    prepared: PreparedSamples | None = field(default=None, repr=False)
    shortlist: dict[int, Floats] = field(default_factory=dict, repr=False)
    at_hand: dict[tuple[str, str, str], PreparedSamples] = field(default_factory=dict, repr=False)
    digest: str | None = None


def fold_weights(y: Ints, k: int, folds: Ints, fold: int, class_weight: str) -> Floats:
    """Weights of all samples in one fold's training: 0 where held out; balanced as scikit-learn does on the others."""
    return sample_weights(y, k, class_weight, folds != fold)


def sample_weights(y: Ints, k: int, class_weight: str, used: np.ndarray, own: Floats | None = None) -> Floats:
    """1 for used samples, or n / (k * samples of the label) when balanced; 0 for the others.

    ``own`` are weights that the samples have besides: one of weight 1/2 counts as half a sample.
    """
    own = used.astype(np.float64) if own is None else np.where(used, own, 0.0)
    if class_weight == "none":
        return own
    counts = np.bincount(y, own, minlength=k)
    return np.asarray(own * (own.sum() / (k * np.maximum(counts, 1e-300)))[y])


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
    count = _Count(options.settings_count * fold_count, progress)
    digest = content_digest(embeddings)
    rows: list[SweepRow] = []
    kept: dict[int, Floats] = {}
    at_hand: dict[tuple[str, str, str], PreparedSamples] = {}
    best, best_key = np.inf, None
    each_scaling = [_try_scaling(name, embeddings, digest, y, k, folds, options, count) for name in options.scaling]
    for tried in _side_by_side(each_scaling, len(y)):
        key = (tried.views, tried.features, tried.scaling)
        at_hand[key] = tried.prepared
        for (c, class_weight), logits in tried.logits.items():
            row = _row(tried, c, class_weight, logits, y, k)
            kept[len(rows)] = logits
            rows.append(row)
            if row.log_loss < best:
                best, best_key = row.log_loss, key
        first = _best(kept, rows)
        kept = {i: logits for i, logits in kept.items() if i in first or rows[i].log_loss <= best + TIE}
        in_sight = {(rows[i].views, rows[i].features, rows[i].scaling) for i in kept}
        # Gram matrices are as large as a set of samples; one at a time stays.
        at_hand = {
            key: prepared
            for key, prepared in at_hand.items()
            if key == best_key or (key in in_sight and prepared.gram is None)
        }
    chosen = min((i for i in kept if rows[i].log_loss <= best + TIE), key=lambda i: simplicity(rows[i], options))
    shortlist = {i: kept[i] for i in sorted({*_best(kept, rows), chosen})}
    rows[chosen] = replace(rows[chosen], chosen=True)
    row = rows[chosen]
    prepared = at_hand.get((row.views, row.features, row.scaling))
    return SweepResult(rows, row, kept[chosen], prepared, shortlist, at_hand, digest)


def _best(kept: dict[int, Floats], rows: list[SweepRow]) -> list[int]:
    return sorted(kept, key=lambda i: (rows[i].log_loss, i))[:SHORTLIST]


def prepare_again(
    found: SweepResult, row: SweepRow, embeddings: Embeddings, options: Options, grams: GramBlocks
) -> PreparedSamples:
    """The samples as the sweep had them for one of its rows, to the last digit."""
    known = found.at_hand.get((row.views, row.features, row.scaling))
    if known is not None:
        return known
    slices = options.slices[row.features]
    make = partial(prepare_choice, embeddings, row.views, slices, row.scaling, torch.float32, grams)
    return GRAM_CACHE.get(found.digest, (row.views, slices, row.scaling), make)


def prepare_choice(
    embeddings: Embeddings,
    view_set: str,
    slices: tuple[tuple[int, int], ...],
    scaling: str,
    dtype: torch.dtype = torch.float64,
    grams: GramBlocks | None = None,
    scaled_on: Embeddings | None = None,
    steadied_by: Copies | None = None,
    in_memory: bool = True,
) -> PreparedSamples:
    """The samples in one choice of views, features and scaling.

    ``scaled_on`` only some of them, where given; and steadied by copies of these, where there are any (see
    ``steadying``). ``in_memory``: see `prepare`.
    """
    views = VIEW_SETS[view_set]
    own = embeddings if scaled_on is None else scaled_on
    fitted = fit_scaling(own, views, slices, scaling)
    if steadied_by is not None and len(steadied_by):
        fitted = steadied(fitted, own, steadied_by)
    gram = None if grams is None else lambda: grams.sum_of_blocks(views, slices)
    return prepare(embeddings, fitted, dtype, gram, in_memory)


class GramBlocks:
    """float32 Gram matrices of single blocks, one scaling: those of several views or feature sets are their sums."""

    def __init__(self, embeddings: Embeddings, scaling: str) -> None:
        self.embeddings, self.scaling = embeddings, scaling
        self.blocks: dict[tuple[str, tuple[int, int]], torch.Tensor] = {}

    def sum_of_blocks(self, views: tuple[str, ...], slices: tuple[tuple[int, int], ...]) -> torch.Tensor:
        total: torch.Tensor | None = None
        for view in views:
            for columns in slices:
                block = self.blocks.get((view, columns))
                if block is None:
                    fitted = fit_scaling(self.embeddings, (view,), (columns,), self.scaling)
                    block = self.blocks[view, columns] = gram_of(self.embeddings, fitted, torch.float32)
                total = block.clone() if total is None else total + block
        assert total is not None
        return total / (len(views) * (1 if self.scaling == STANDARDISE else len(slices)))


@dataclass(frozen=True)
class _Tried:
    """All settings of one choice of features: out-of-fold logits by (relative C, class weight)."""

    views: str
    features: str
    scaling: str
    prepared: PreparedSamples
    logits: dict[tuple[float, str], Floats]


class _Count:
    """Fits done in all, told from whichever thread has done some."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress = total, progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, fits: int, message: str) -> None:
        with self._lock:
            self._done += fits
            if self._progress is not None:
                self._progress(self._done, self._total, message)

    def of_one_choice(self, message: str) -> Callable[[int], None]:
        """For a solver that tells how many of its own fits are done so far."""
        told = 0

        def solved(so_far: int) -> None:
            nonlocal told
            self.add(so_far - told, message)
            told = so_far

        return solved


def _side_by_side(each: Sequence[Iterator[_Tried]], n: int) -> Iterator[_Tried]:
    """One after the other, or, where the problems are small, each on a core of its own; in the same order."""
    if n > ONE_CORE_ROWS:
        return chain.from_iterable(each)
    return chain.from_iterable(run_each_single_threaded([partial(list, tries) for tries in each]))


def _try_scaling(
    scaling: str,
    embeddings: Embeddings,
    digest: str | None,
    y: Ints,
    k: int,
    folds: Ints,
    options: Options,
    count: _Count,
) -> Iterator[_Tried]:
    grams = GramBlocks(embeddings, scaling)
    for view_set in options.views:
        for feature_set in options.features:
            message = f"Trying {view_set} view{'s' if view_set == BOTH else ''}, {feature_set}, {scaling}"
            count.add(0, message)
            if len(y) > LARGE:
                give_back_freed_memory()
            slices = options.slices[feature_set]
            make = partial(prepare_choice, embeddings, view_set, slices, scaling, torch.float32, grams)
            prepared = GRAM_CACHE.get(digest, (view_set, slices, scaling), make)
            found = _cross_validate(prepared, embeddings, y, k, folds, options, count.of_one_choice(message))
            yield _Tried(view_set, feature_set, scaling, prepared, found)


def _cross_validate(
    prepared: PreparedSamples,
    embeddings: Embeddings,
    y: Ints,
    k: int,
    folds: Ints,
    options: Options,
    solved: Callable[[int], None],
) -> dict[tuple[float, str], Floats]:
    fold_count, n = int(folds.max()) + 1, len(y)
    settings = [(c, weight) for weight in options.class_weight for c in options.c]
    by_weight = {
        weight: [fold_weights(y, k, folds, fold, weight).astype(np.float32) for fold in range(fold_count)]
        for weight in options.class_weight
    }
    design = prepared.design(embeddings)
    found: dict[tuple[float, str], Floats] = {}
    # Of a large set as many at a time as are solved at once: weights and logits of all would lie beside the design.
    most = max(1, LARGE_BLOCK_NUMBERS // (n * (1 if k == 2 else k) * fold_count)) if n > LARGE else len(settings)
    for start in range(0, len(settings), most):
        part = settings[start : start + most]
        if n > LARGE:
            give_back_freed_memory()

        def solved_of_part(so_far: int, before: int = start * fold_count) -> None:
            solved(before + so_far)

        weights = [column for _, weight in part for column in by_weight[weight]]
        held_out = held_out_logits(prepared, design, y, k, folds, part, weights, solved_of_part)
        found |= dict(zip(part, held_out, strict=True))
    return found


def held_out_logits(
    prepared: PreparedSamples,
    design: Design,
    y: Ints,
    k: int,
    folds: Ints,
    settings: Sequence[tuple[float, str]],
    weights: Sequence[np.ndarray],
    solved: Callable[[int], None] | None = None,
    softened: float = 0.0,
) -> list[Floats]:
    """Of each setting (relative C, class weight) the logits of all rows, each by the model of its fold: (n, columns).

    Parameters
    ----------
    weights : one (n,) float32 array for each setting and fold, in this order
    solved, softened :
        See `solve`.
    """
    fold_count, n = int(folds.max()) + 1, len(y)
    solution = solve(
        design,
        torch.from_numpy(y),
        k,
        torch.from_numpy(np.stack(weights, axis=1)),
        torch.from_numpy(np.repeat([c / prepared.mean_squared_norm for c, _ in settings], fold_count)),
        solved=solved,
        softened=softened,
    )
    logits = solution.logits.numpy().reshape(n, len(settings), fold_count, -1)
    held_out = logits[np.arange(n), :, folds].astype(np.float64)
    return [np.ascontiguousarray(held_out[:, place]) for place in range(len(settings))]


def _row(tried: _Tried, c: float, class_weight: str, logits: Floats, y: Ints, k: int) -> SweepRow:
    correct = probabilities(logits).argmax(axis=1) == y
    per_label = [float(correct[y == label].mean()) for label in range(k)]
    return SweepRow(
        views=tried.views,
        features=tried.features,
        scaling=tried.scaling,
        c=c,
        C=c / tried.prepared.mean_squared_norm,
        class_weight=class_weight,
        log_loss=mean_log_loss(logits, y),
        accuracy=float(correct.mean()),
        balanced_accuracy=float(np.mean(per_label)),
    )


def simplicity(row: SweepRow, options: Options) -> tuple[int, int, int, int, float]:
    """What is less goes first where settings are equally good: views, features, class weights, scaling, C."""
    return (
        options.views.index(row.views),
        options.features.index(row.features),
        options.class_weight.index(row.class_weight),
        options.scaling.index(row.scaling),
        row.c,
    )
