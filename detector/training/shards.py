"""One logistic regression on more rows than one machine's memory holds: sums over pieces of the samples.

The loss of all rows is the sum of the losses of any pieces of them, and so is its gradient. So each piece (shard) is
read where it lies, by whichever thread, process or machine an executor hands it to, and gives back two small sums for
the coefficients of the moment; the steps between are taken here. The problem is that of ``solver``,
``C * sum_i weight_i * loss_i + |w|^2 / 2`` with an unpenalised intercept, in float64, and so is its solution: on the
same directions the coefficients are the same to 1e-6.

L-BFGS-B (Byrd, Lu, Nocedal and Zhu 1995, https://doi.org/10.1137/0916069), as scipy has it, takes the steps, in
coordinates in which the loss bends alike in all directions: each evaluation is a pass over all rows, and these
coordinates, found from some of the rows, spare most of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch

from detector.arrays import Floats, Ints
from detector.system.batches import Executor, map_batches
from detector.training.single_thread import product, run_single_threaded

#: Rows turned into float64 at a time.
_CHUNK = 4096
#: Rows from which the coordinates are found, all shards together.
_LEARN_FROM = 40_000
_HISTORY = 20
_MOST_EVALUATIONS = 500
#: First roughly, and once more in the coordinates of that place. Of the gradient in those coordinates, where a number
#: is an error of the coefficients of at most that size.
_ROUGH, _EXACT = 1e-3, 1e-8


Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class ShardRows:
    """Some of the rows.

    Attributes
    ----------
    features : (m, p) float array; it may lie in a file that is mapped into memory
    y : (m,) int array of labels 0..k-1, not all of which need to occur
    weights : (m,) float array
    folds : (m,) int array
    """

    features: np.ndarray
    y: Ints
    weights: Floats
    folds: Ints


class Shard(Protocol):
    """A piece of the samples. Whoever works in other processes gives one that can be pickled and is small."""

    def rows(self) -> ShardRows:
        """Its rows; asked for at each evaluation."""


@dataclass(frozen=True)
class FileShard:
    """Rows of a file that every process that works on them can open: mapped into memory, not read.

    Attributes
    ----------
    path : Path
        Rows of float32 as of `table_rows`, one after the other.
    columns : int
        Features.
    start, stop : int
        Which rows.
    """

    path: Path
    columns: int
    start: int
    stop: int

    def rows(self) -> ShardRows:
        width = self.columns + 2
        shape = (self.stop - self.start, width)
        table = np.memmap(self.path, np.float32, "r", offset=self.start * width * 4, shape=shape)
        y, folds = table[:, -2].astype(np.int64), table[:, -1].astype(np.int64)
        return ShardRows(table[:, : self.columns], y, np.ones(len(y)), folds)


def table_rows(features: np.ndarray, y: Ints, folds: Ints) -> np.ndarray:
    """Rows of a `FileShard`: features, then label and fold; float32, which holds small whole numbers exactly."""
    return np.column_stack([features, y, folds]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class ShardedProblem:
    """One regression on shards.

    Attributes
    ----------
    k : int, >= 2
    c : float
        Inverse strength of the penalty, as in scikit-learn.
    label_weights : (k,) float array
        A row's weight is multiplied by that of its label.
    held_out : int or None
        Rows of this fold count nothing.
    softened : float
        See `detector.training.solver.solve`.
    """

    k: int
    c: float
    label_weights: Floats
    held_out: int | None = None
    softened: float = 0.0

    @property
    def columns(self) -> int:
        """Of logits: one for two labels."""
        return 1 if self.k == 2 else self.k


@dataclass(frozen=True, eq=False)
class ShardedSolution:
    """Coefficients (columns, p), intercept (columns,), and how many passes over all rows that took."""

    coefficients: Floats
    intercept: Floats
    passes: int


@dataclass(frozen=True, eq=False)
class _Theta:
    """Coefficients with the intercept as the last of p + 1 numbers: (columns, p + 1)."""

    numbers: Floats

    @classmethod
    def of(cls, solution: ShardedSolution) -> _Theta:
        return cls(np.column_stack([solution.coefficients, solution.intercept]))


def fit_shards(
    problem: ShardedProblem,
    shards: Sequence[Shard],
    *,
    start: ShardedSolution | None = None,
    workers: int = 0,
    executor: Executor | None = None,
    passed: Callable[[], None] = lambda: None,
) -> ShardedSolution:
    """Solve one regression.

    Parameters
    ----------
    problem : ShardedProblem
    shards : sequence of Shard
        Of any sizes, together all rows. Their order decides the last digit, and who works on them does not.
    start : ShardedSolution, optional
        A solution of a similar problem, such as that of all folds: fewer passes follow.
    workers, executor : see `detector.system.batches.map_batches`
    passed : callable, optional
        Called after each pass; it may raise to give up.

    Returns
    -------
    ShardedSolution
        For two labels with one row of coefficients: the log odds of label 1.
    """
    passes = 0

    def over_all(work: Callable[[list[Shard]], tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
        nonlocal passes
        results = map_batches(
            partial(_one_core_each, work), shards, size=1, workers=workers, name="shards", executor=executor
        )
        first, second = next(results)
        for one, other in results:
            first, second = first + one, second + other
        passes += 1
        passed()
        return first, second

    p = shards[0].rows().features.shape[1]
    theta = _Theta(np.zeros((problem.columns, p + 1))) if start is None else _Theta.of(start)
    stages = (_ROUGH, _EXACT) if start is None else (_EXACT,)
    for wanted in stages:
        theta = _descend(problem, theta, _coordinates(problem, theta, shards, over_all), wanted, over_all)
    intercept = theta.numbers[:, -1]
    if problem.columns > 1:
        # Only differences between the labels' intercepts mean anything; scikit-learn's sum to 0 as well.
        intercept = intercept - intercept.mean()
    return ShardedSolution(theta.numbers[:, :-1].copy(), intercept.copy(), passes)


def logits_of_shards(
    solution: ShardedSolution,
    shards: Sequence[Shard],
    *,
    fold: int | None = None,
    workers: int = 0,
    executor: Executor | None = None,
) -> Floats:
    """What a solution says of all rows, or of those of one fold, in the order of the shards: (rows, columns)."""
    work = partial(_one_core_each, partial(_logits, _Theta.of(solution), fold))
    return np.concatenate(list(map_batches(work, shards, size=1, workers=workers, name="shards", executor=executor)))


_OverAll = Callable[[Callable[[list[Shard]], tuple[Floats, Floats]]], tuple[Floats, Floats]]


def _descend(
    problem: ShardedProblem, theta: _Theta, coordinates: _Coordinates, wanted: float, over_all: _OverAll
) -> _Theta:
    """Towards the minimum in coordinates z, with ``theta = z @ turn``, until the gradient in them is small."""
    from scipy.optimize import minimize

    shape, turn = theta.numbers.shape, coordinates.turn

    def evaluate(flat: Floats) -> tuple[float, Floats]:
        at = _product(flat.reshape(shape), turn)
        losses, gradient = over_all(partial(_sums, problem, _Theta(at)))
        penalised = at.copy()
        penalised[:, -1] = 0.0
        value = problem.c * float(losses[0]) + 0.5 * float((penalised * penalised).sum())
        return value, _product(problem.c * gradient + penalised, turn.T).ravel()

    begin = _product(theta.numbers, coordinates.back).ravel()
    options = {"maxcor": _HISTORY, "ftol": 0.0, "gtol": wanted, "maxfun": _MOST_EVALUATIONS}
    found = minimize(evaluate, begin, jac=True, method="L-BFGS-B", options=options)
    return _Theta(_product(found.x.reshape(shape), turn))


@dataclass(frozen=True, eq=False)
class _Coordinates:
    """Rows of ``turn`` (p + 1, p + 1) are directions in each of which the loss bends by about 1; ``back`` undoes it."""

    turn: Floats
    back: Floats


def _coordinates(problem: ShardedProblem, theta: _Theta, shards: Sequence[Shard], over_all: _OverAll) -> _Coordinates:
    share, bends = over_all(partial(_bends, problem, theta, max(1, _LEARN_FROM // len(shards))))
    bends = problem.c * bends * float(share[0] / max(share[1], 1e-300))
    diagonal = np.arange(len(bends) - 1)
    bends[diagonal, diagonal] += 1.0
    # The intercept has no penalty: where all rows are certain, next to nothing holds it.
    bends[-1, -1] += 1e-8

    def turned() -> _Coordinates:
        lower = torch.linalg.cholesky(torch.from_numpy(bends))
        turn = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=lower.dtype), upper=False)
        return _Coordinates(turn.numpy(), lower.numpy())

    return run_single_threaded(turned)


def _one_core_each(work: Callable[[list[Shard]], Result], batch: list[Shard]) -> Result:
    """What a shard gives, whichever machine works on it: no sum is shared among its cores."""
    return run_single_threaded(partial(work, batch))


def _product(first: Floats, second: Floats) -> Floats:
    return product(torch.from_numpy(first), torch.from_numpy(second)).numpy()


def _sums(problem: ShardedProblem, theta: _Theta, batch: list[Shard]) -> tuple[Floats, Floats]:
    """Loss (1,) and gradient (columns, p + 1) of a shard, without the penalty."""
    [shard] = batch
    rows = shard.rows()
    losses, gradient = np.zeros(1), np.zeros_like(theta.numbers)
    for part in _chunks(rows):
        features, weights = np.asarray(part.features, dtype=np.float64), _weights(problem, part)
        logits = _product(features, theta.numbers[:, :-1].T) + theta.numbers[:, -1]
        loss, slopes = _loss_and_slopes(problem, logits, part.y)
        losses[0] += float((weights * loss).sum())
        slopes *= weights[:, None]
        gradient[:, :-1] += _product(slopes.T, features)
        gradient[:, -1] += slopes.sum(axis=0)
    return losses, gradient


def _logits(theta: _Theta, fold: int | None, batch: list[Shard]) -> Floats:
    [shard] = batch
    found = [np.empty((0, len(theta.numbers)))]
    for part in _chunks(shard.rows()):
        features = part.features if fold is None else part.features[part.folds == fold]
        found.append(_product(np.asarray(features, dtype=np.float64), theta.numbers[:, :-1].T) + theta.numbers[:, -1])
    return np.concatenate(found)


def _bends(problem: ShardedProblem, theta: _Theta, most: int, batch: list[Shard]) -> tuple[Floats, Floats]:
    """How the loss of a shard bends, from some of its rows: (weight of all, of these), and (p + 1, p + 1).

    Of several labels the mean of theirs: they share their coordinates.
    """
    [shard] = batch
    rows = shard.rows()
    all_weights = _weights(problem, rows)
    some = _some(rows, max(1, len(rows.y) // most))
    p = rows.features.shape[1]
    bends, used = np.zeros((p + 1, p + 1)), 0.0
    for part in _chunks(some):
        features, weights = np.asarray(part.features, dtype=np.float64), _weights(problem, part)
        prob = _probabilities(_product(features, theta.numbers[:, :-1].T) + theta.numbers[:, -1])
        used += float(weights.sum())
        curvature = weights * (prob * (1.0 - prob)).mean(axis=1)
        wide = np.column_stack([features, np.ones(len(features))])
        bends += _product((wide * curvature[:, None]).T, wide)
    return np.array([all_weights.sum(), used]), bends


def _some(rows: ShardRows, step: int) -> ShardRows:
    return ShardRows(rows.features[::step], rows.y[::step], rows.weights[::step], rows.folds[::step])


def _chunks(rows: ShardRows) -> list[ShardRows]:
    parts = [slice(start, start + _CHUNK) for start in range(0, len(rows.y), _CHUNK)]
    return [
        replace(rows, features=rows.features[part], y=rows.y[part], weights=rows.weights[part], folds=rows.folds[part])
        for part in parts
    ]


def _weights(problem: ShardedProblem, rows: ShardRows) -> Floats:
    weights = rows.weights * problem.label_weights[rows.y]
    return weights if problem.held_out is None else np.where(rows.folds != problem.held_out, weights, 0.0)


def _probabilities(logits: Floats) -> Floats:
    from scipy.special import expit, softmax

    return np.asarray(expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1))


def _loss_and_slopes(problem: ShardedProblem, logits: Floats, y: Ints) -> tuple[Floats, Floats]:
    """Losses (m,) and their slopes in the logits (m, columns)."""
    from scipy.special import log_expit, log_softmax

    k = problem.k
    target = (y == 1)[:, None].astype(np.float64) if k == 2 else np.eye(k)[y]
    if problem.softened:
        target = problem.softened / (k - 1) + (1.0 - problem.softened * k / (k - 1)) * target
    if k == 2:
        loss = -(target * log_expit(logits) + (1.0 - target) * log_expit(-logits))[:, 0]
    else:
        loss = -(target * log_softmax(logits, axis=1)).sum(axis=1)
    return loss, _probabilities(logits) - target
