"""Training on pieces of the samples gives the coefficients of training on all of them at once."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from detector.training.design import Design
from detector.training.shards import (
    ShardedProblem,
    ShardRows,
    fit_shards,
    logits_of_shards,
)
from detector.training.solver import EXACT_TOLERANCE, solve


def _made(k: int, n: int = 900, p: int = 24) -> ShardRows:
    """Noisy clouds in features of very unequal size, with weights; the first rows lack the last label."""
    rng = np.random.default_rng(k)
    y = np.sort(rng.integers(0, k, n))
    x = rng.standard_normal((n, p)) * 10.0 ** -np.linspace(0, 1.5, p) + 0.6 * rng.standard_normal((k, p))[y]
    return ShardRows(x - x.mean(axis=0), y, rng.uniform(0.2, 2.0, n), rng.integers(0, 3, n))


def _piece(k: int, start: int, stop: int) -> ShardRows:
    rows = _made(k)
    return ShardRows(rows.features[start:stop], rows.y[start:stop], rows.weights[start:stop], rows.folds[start:stop])


@dataclass(frozen=True)
class _Shard:
    """Made where it is worked on: it travels as numbers of rows."""

    k: int
    start: int
    stop: int

    def rows(self) -> ShardRows:
        return _piece(self.k, self.start, self.stop)


#: Uneven, and since rows lie by label, each piece lacks some.
CUTS = ((0, 130), (130, 140), (140, 900))


def _local(rows: ShardRows, problem: ShardedProblem) -> tuple[np.ndarray, np.ndarray]:
    weights = rows.weights * problem.label_weights[rows.y]
    if problem.held_out is not None:
        weights = np.where(rows.folds != problem.held_out, weights, 0.0)
    found = solve(
        Design.of(torch.from_numpy(rows.features), dual=False),
        torch.from_numpy(rows.y),
        problem.k,
        torch.from_numpy(weights[:, None]),
        torch.tensor([problem.c], dtype=torch.float64),
        tolerance=EXACT_TOLERANCE,
        softened=problem.softened,
    )
    return found.vectors[0].numpy(), found.intercept[0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("c", [0.01, 1.0, 300.0])
@pytest.mark.parametrize("k", [2, 4])
def test_three_uneven_shards_give_the_local_coefficients(k: int, c: float) -> None:
    rows = _made(k)
    problem = ShardedProblem(k, c, np.linspace(0.5, 2.0, k))
    shards = [_Shard(k, *cut) for cut in CUTS]
    assert {len(np.unique(shard.rows().y)) for shard in shards} != {k}
    found = fit_shards(problem, shards, workers=2)
    coefficients, intercept = _local(rows, problem)
    assert np.abs(found.coefficients - coefficients).max() < 1e-6
    assert np.abs(found.intercept - intercept).max() < 1e-6
    assert found.passes < 150


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3])
def test_a_fold_that_is_held_out_and_softened_labels_are_those_of_the_local_problem(k: int) -> None:
    rows = _made(k)
    shards = [_Shard(k, *cut) for cut in CUTS]
    every = fit_shards(ShardedProblem(k, 2.0, np.ones(k)), shards, workers=1)
    problem = ShardedProblem(k, 2.0, np.ones(k), held_out=1, softened=0.03)
    found = fit_shards(problem, shards, start=every, workers=1)
    coefficients, intercept = _local(rows, problem)
    assert np.abs(found.coefficients - coefficients).max() < 1e-6
    expected = rows.features[rows.folds == 1] @ coefficients.T + intercept
    assert np.allclose(logits_of_shards(found, shards, fold=1, workers=1), expected, atol=1e-5)


@pytest.mark.long
def test_processes_give_what_threads_give_to_the_last_digit() -> None:
    problem = ShardedProblem(3, 1.0, np.ones(3))
    shards = [_Shard(3, *cut) for cut in CUTS]
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as executor:
        far = fit_shards(problem, shards, executor=executor, workers=2)
    near = fit_shards(problem, shards, workers=1)
    assert np.array_equal(far.coefficients, near.coefficients)
    assert np.array_equal(far.intercept, near.intercept)


def test_a_training_on_shards_can_be_given_up() -> None:
    passes = []

    def passed() -> None:
        passes.append(1)
        if len(passes) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_shards(ShardedProblem(2, 1.0, np.ones(2)), [_Shard(2, 0, 900)], workers=1, passed=passed)
    assert len(passes) == 3
