"""Many logistic regressions on one design matrix at once.

All folds, values of C and class weights are columns of one batched L-BFGS (Nocedal & Wright, "Numerical Optimization",
algorithm 7.4): every iteration costs two matrix products for all of them together. What makes it fast:

- The design matrix comes in the eigenbasis of its Gram or covariance matrix, where the Hessian is nearly diagonal. That
  diagonal is the starting matrix of L-BFGS, so that a few dozen iterations suffice for every C.
- Logits are linear in the parameters. The line search moves along logits that are already there and needs no product.
- A fold is a column of 0/1 sample weights, so all folds share the one matrix.
- Problems that have converged leave the batch.

Each problem is scikit-learn's: ``C * sum_i weight_i * loss_i + |w|^2 / 2`` with an unpenalised intercept. Two labels
have one column of logits, more labels one each (softmax), through the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from detector.training.one_core import on_one_core
from detector.training.scaling import LARGE

HISTORY = 10
LINE_SEARCH_STEPS = 12
# The slope at the end of a step, as a share of the slope at its beginning.
LINE_SEARCH_SLOPE = 0.3
# Estimated distance of the mean loss from its minimum at which a problem counts as solved.
SWEEP_TOLERANCE = 1e-9
EXACT_TOLERANCE = 1e-19
MAX_ITERATIONS = 500
# Numbers in one block of logits (samples x problems x columns): bounds memory, about eight such blocks live at a time.
BLOCK_NUMBERS = 16_000_000
# The same for a large set, beside whose design matrix there is less room.
LARGE_BLOCK_NUMBERS = 2_000_000
# Multiplications in one product up to which all problems are solved on one core: with more, the cores wait for each
# other. 2,000 samples, 2,912 features, 100 fits on two cores of a busy machine: 17 s; on one: 1.6 s.
ONE_CORE_PRODUCT = 500_000_000


@dataclass(frozen=True)
class Solution:
    """``coefficients`` (r, P, k), ``intercept`` (P, k), ``logits`` of all samples (n, P, k), ``iterations`` (P,)."""

    coefficients: Tensor
    intercept: Tensor
    logits: Tensor
    iterations: Tensor


@dataclass
class _Problems:
    """The part of the state that shrinks when problems leave the batch. P is always the axis before the last."""

    index: Tensor  # (P,) place in the result
    weights: Tensor  # (n, P, 1)
    inverse_c: Tensor  # (P, 1)
    total: Tensor  # (P,) sum of weights
    theta: Tensor  # (r + 1, P, k), the last row is the intercept
    logits: Tensor  # (n, P, k)
    gradient: Tensor  # (r + 1, P, k)
    curvature: Tensor  # (P, 1)
    history: list[tuple[Tensor, Tensor, Tensor]]  # steps, changes of the gradient, 1 / (step . change)

    def keep(self, mask: Tensor) -> None:
        self.index, self.total = self.index[mask], self.total[mask]
        self.inverse_c, self.curvature = self.inverse_c[mask], self.curvature[mask]
        self.weights, self.theta = self.weights[:, mask], self.theta[:, mask]
        self.logits, self.gradient = self.logits[:, mask], self.gradient[:, mask]
        self.history = [(s[:, mask], y[:, mask], rho[mask]) for s, y, rho in self.history]


def solve(
    design: Tensor,
    eigenvalues: Tensor,
    y: Tensor,
    k: int,
    weights: Tensor,
    c: Tensor,
    *,
    tolerance: float = SWEEP_TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    solved: Callable[[int], None] | None = None,
) -> Solution:
    """Solve P logistic regressions on one design matrix.

    Parameters
    ----------
    design : (n, r) tensor
        Centred samples in their eigenbasis: ``design.T @ design`` is the diagonal matrix of ``eigenvalues``. float32 is
        accurate enough for choosing among settings; float64 gives coefficients equal to scikit-learn's.
    eigenvalues : (r,) tensor
    y : (n,) integer tensor, labels 0..k-1
    k : int, >= 2
    weights : (n, P) tensor
        Weight of each sample in each problem; 0 holds it out.
    c : (P,) tensor
        Inverse strength of the penalty, as in scikit-learn.
    tolerance : float
        A problem is solved when its mean loss is estimated to lie this close to the minimum.
    max_iterations : int
    solved : callable, optional
        Called after every iteration (small sets: once, at the end) with the number of problems solved so far. It may
        raise to give up.

    Returns
    -------
    Solution
        For two labels with one column of logits: the log odds of label 1.
    """
    columns = 1 if k == 2 else k
    if design.numel() * weights.shape[1] * columns <= ONE_CORE_PRODUCT:
        solution = on_one_core(
            lambda: _solve_block(design, eigenvalues, y, k, weights, c, tolerance, max_iterations, None)
        )
        if solved is not None:
            solved(weights.shape[1])
        return solution
    numbers = LARGE_BLOCK_NUMBERS if design.shape[0] > LARGE else BLOCK_NUMBERS
    per_block = max(1, numbers // (design.shape[0] * columns))
    parts = []
    for start in range(0, weights.shape[1], per_block):
        part = slice(start, start + per_block)
        report = None if solved is None else (lambda count, start=start: solved(start + count))
        parts.append(
            _solve_block(design, eigenvalues, y, k, weights[:, part], c[part], tolerance, max_iterations, report)
        )
    return Solution(
        torch.cat([p.coefficients for p in parts], dim=1),
        torch.cat([p.intercept for p in parts]),
        torch.cat([p.logits for p in parts], dim=1),
        torch.cat([p.iterations for p in parts]),
    )


def _solve_block(
    design: Tensor,
    eigenvalues: Tensor,
    y: Tensor,
    k: int,
    weights: Tensor,
    c: Tensor,
    tolerance: float,
    max_iterations: int,
    solved: Callable[[int], None] | None,
) -> Solution:
    n, r = design.shape
    problems, columns = weights.shape[1], 1 if k == 2 else k
    kind = {"dtype": design.dtype}
    target = (y == 1).to(design.dtype)[:, None] if k == 2 else torch.nn.functional.one_hot(y, k).to(design.dtype)
    target = target[:, None, :]
    # Directions of the Hessian relative to the mean curvature of the loss; the last one is the intercept's.
    spectrum = torch.cat([eigenvalues.to(design.dtype), torch.full((1,), float(n), **kind)])[:, None]
    penalised = torch.ones(r + 1, 1, 1, **kind)
    penalised[-1] = 0.0

    result = Solution(
        torch.zeros(r + 1, problems, columns, **kind),
        torch.zeros(problems, columns, **kind),
        torch.zeros(n, problems, columns, **kind),
        torch.zeros(problems, dtype=torch.int64),
    )
    at = _Problems(
        index=torch.arange(problems),
        weights=weights.to(design.dtype)[:, :, None],
        inverse_c=(1.0 / c.to(design.dtype))[:, None],
        total=weights.to(design.dtype).sum(0),
        theta=torch.zeros(r + 1, problems, columns, **kind),
        logits=torch.zeros(n, problems, columns, **kind),
        gradient=torch.empty(0),
        curvature=torch.empty(0),
        history=[],
    )

    def gradient_here() -> tuple[Tensor, Tensor]:
        p = _probabilities(at.logits)
        slope = at.weights * (p - target)
        curvature = (at.weights * p * (1.0 - p)).mean(dim=(0, 2))[:, None]
        # The intercept's part apart: a column of ones beside the design would be a second copy of the largest array.
        penalised_part = (design.T @ slope.reshape(n, -1)).reshape(r, len(at.index), columns)
        loss_part = torch.cat([penalised_part, slope.sum(0)[None]])
        return loss_part + penalised * at.theta * at.inverse_c[None], curvature

    at.gradient, at.curvature = gradient_here()
    for iteration in range(max_iterations + 1):
        # (r + 1, P, 1): inverse of the Hessian's diagonal. The curvature has a floor where all samples are certain.
        diagonal = spectrum * at.curvature.clamp_min(1e-10).T + penalised[:, :, 0] * at.inverse_c.T
        inverse_diagonal = (1.0 / diagonal)[:, :, None]
        gap = 0.5 * (at.gradient * at.gradient * inverse_diagonal).sum(dim=(0, 2)) / at.total
        done = gap <= tolerance if iteration < max_iterations else torch.ones_like(gap, dtype=torch.bool)
        result.iterations[at.index[done & (result.iterations[at.index] == 0)]] = iteration
        # Leaving one by one would copy the batch too often.
        left = len(done) - int(done.sum())
        if left == 0 or left <= 0.8 * len(done):
            leaving = at.index[done]
            result.coefficients[:, leaving] = at.theta[:, done]
            result.logits[:, leaving] = at.logits[:, done]
            at.keep(~done)
            inverse_diagonal = inverse_diagonal[:, ~done]
        if solved is not None:
            solved(problems - left)
        if left == 0:
            break
        direction = _direction(at.gradient, inverse_diagonal, at.history)
        along = (design @ direction[:-1].reshape(r, -1)).reshape(n, len(at.index), columns) + direction[-1]
        step = _line_search(at, target, penalised, direction, along)[None, :, None]
        at.theta = at.theta + step * direction
        at.logits = at.logits + step * along
        before = at.gradient
        at.gradient, at.curvature = gradient_here()
        moved, changed = step * direction, at.gradient - before
        product = (moved * changed).sum(dim=(0, 2))
        # Where rounding has eaten the curvature of a step, the pair is left out (weight 0) for this problem.
        usable = product > 1e-12 * (changed * changed * inverse_diagonal).sum(dim=(0, 2))
        rho = torch.where(usable, 1.0 / product, torch.zeros_like(product))
        at.history = [*at.history[-(HISTORY - 1) :], (moved, changed, rho)]
    intercept = result.coefficients[-1]
    if columns > 1:
        # Only differences between the labels' intercepts mean anything; scikit-learn's sum to 0 as well.
        shift = intercept.mean(dim=1, keepdim=True)
        intercept = intercept - shift
        result.logits.sub_(shift)
    return Solution(result.coefficients[:-1], intercept, result.logits, result.iterations)


def _probabilities(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits) if logits.shape[-1] == 1 else torch.softmax(logits, dim=-1)


def _direction(gradient: Tensor, inverse_diagonal: Tensor, history: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The two-loop recursion, for all problems at once."""
    q = gradient.clone()
    factors = []
    for moved, changed, rho in reversed(history):
        factor = rho * (moved * q).sum(dim=(0, 2))
        q -= factor[None, :, None] * changed
        factors.append(factor)
    q *= inverse_diagonal
    for (moved, changed, rho), factor in zip(history, reversed(factors), strict=True):
        q += (factor - rho * (changed * q).sum(dim=(0, 2)))[None, :, None] * moved
    return -q


def _line_search(at: _Problems, target: Tensor, penalised: Tensor, direction: Tensor, along: Tensor) -> Tensor:
    """Step lengths at which the slope along the direction has nearly vanished: Newton's method, kept in a bracket.

    Only slopes are compared, never losses: near the minimum, float32 losses are all alike while slopes still differ.
    The loss is convex, so a bracket of slopes of opposite sign always holds the minimum.
    """
    inverse_c = at.inverse_c[:, 0]
    steep = (penalised * at.theta * direction).sum(dim=(0, 2)) * inverse_c
    bend = (penalised * direction * direction).sum(dim=(0, 2)) * inverse_c
    weighted = at.weights * along
    # From the logits, not from the gradient: the same rounding as at the other ends of the search.
    start = (weighted * (_probabilities(at.logits) - target)).sum(dim=(0, 2)) + steep
    allowed = LINE_SEARCH_SLOPE * start.abs()
    step = torch.ones_like(start)
    low, high = torch.zeros_like(start), torch.full_like(start, torch.inf)
    for _ in range(LINE_SEARCH_STEPS):
        p = _probabilities(at.logits + step[None, :, None] * along)
        slope = (weighted * (p - target)).sum(dim=(0, 2)) + steep + step * bend
        open_still = slope.abs() > allowed
        if not bool(open_still.any()):
            break
        if p.shape[-1] == 1:
            second = (weighted * along * p * (1.0 - p)).sum(dim=(0, 2))
        else:
            mean_along = (p * along).sum(dim=2, keepdim=True)
            second = (weighted * p * (along - mean_along)).sum(dim=(0, 2))
        low = torch.where(slope < 0, torch.maximum(low, step), low)
        high = torch.where(slope > 0, torch.minimum(high, step), high)
        newton = step - slope / (second + bend).clamp_min(1e-30)
        middle = torch.where(torch.isinf(high), 4.0 * step, 0.5 * (low + high))
        inside = (newton > low) & (newton < high) & (newton <= 10.0 * step)
        step = torch.where(open_still, torch.where(inside, newton, middle), step)
    return step
