"""Many logistic regressions on one training set at once.

All folds, values of C and class weights are rows of one batched L-BFGS (Nocedal & Wright, "Numerical Optimization",
algorithm 7.4): every iteration costs one product with the samples' Gram matrix, or two with their features, for all of
them together. What makes it fast:

- The leading directions of the samples (see ``design``) are treated apart: along them the starting matrix of L-BFGS has
  the curvature that the loss has there, and everywhere else that of the weakest of them. A few dozen iterations suffice
  for every C, and nothing has to be decomposed.
- Logits are linear in the parameters. The line search moves along logits that are already there and needs no product.
- The two loops over the history are two small triangular systems for each problem.
- A fold is a row of 0/1 sample weights, so all folds share the one matrix.
- Problems that have converged leave the batch.

Each problem is scikit-learn's: ``C * sum_i weight_i * loss_i + |w|^2 / 2`` with an unpenalised intercept. Two labels
have one row of logits, more labels one each (softmax), through the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from detector.training.design import Design
from detector.training.scaling import LARGE
from detector.training.single_thread import product, run_single_threaded

HISTORY = 6
LINE_SEARCH_STEPS = 12
# The slope at the end of a step, as a share of the slope at its beginning.
LINE_SEARCH_SLOPE = 0.3
# Estimated distance of the mean loss from its minimum at which a problem counts as solved.
SWEEP_TOLERANCE = 1e-10
EXACT_TOLERANCE = 1e-19
# As near to the minimum as gradients in float32 can tell.
FLOAT32_TOLERANCE = 1e-11
MAX_ITERATIONS = 500
# Numbers in one block of logits (problems x rows x samples): bounds memory. Of fewer samples than features about thirty
# such blocks live at a time (vectors are as long as logits there), of others about eight.
BLOCK_NUMBERS = 4_000_000
# The same for a large set, beside whose features there is less room.
LARGE_BLOCK_NUMBERS = 2_000_000
# Multiplications in one product up to which all problems are solved on one core: with more, the cores wait for each
# other. 2,000 samples, 2,912 features, 100 fits on two cores of a busy machine: 17 s; on one: 1.6 s.
ONE_CORE_PRODUCT = 500_000_000


@dataclass(frozen=True)
class Solution:
    """P solved problems of p parameters, with k rows of logits (one for two labels).

    Attributes
    ----------
    vectors : (P, k, p) tensor, see ``Design``
    intercept : (P, k) tensor
    logits : (n, P, k) tensor, of all samples
    iterations : (P,) tensor
    """

    vectors: Tensor
    intercept: Tensor
    logits: Tensor
    iterations: Tensor


@dataclass
class _Problems:
    """The part of the state that shrinks when problems leave the batch. P is always the first axis.

    The last of the p + 1 numbers of a vector is the intercept.
    """

    index: Tensor  # (P,) place in the result
    weights: Tensor  # (P, 1, n)
    inverse_c: Tensor  # (P, 1, 1)
    total: Tensor  # (P,) sum of weights
    theta: Tensor  # (P, k, p + 1)
    logits: Tensor  # (P, k, n)
    gradient: Tensor  # (P, k, p + 1)
    curvature: Tensor  # (P, 1, 1) mean over the samples
    history: _History | None

    def keep(self, mask: Tensor) -> None:
        self.index, self.total = self.index[mask], self.total[mask]
        self.weights, self.inverse_c, self.curvature = self.weights[mask], self.inverse_c[mask], self.curvature[mask]
        self.theta, self.logits, self.gradient = self.theta[mask], self.logits[mask], self.gradient[mask]
        if self.history is not None:
            self.history = self.history.keep(mask)


@dataclass(frozen=True)
class _Imaged:
    """Vectors and their images, see ``Design``. Of features these are one tensor, and everything is calculated once."""

    vectors: Tensor
    images: Tensor

    def each(self, change: Callable[..., Tensor], *others: _Imaged) -> _Imaged:
        """``change`` of the vectors, and of the images: it must be linear."""
        vectors = change(self.vectors, *(other.vectors for other in others))
        if self.images is self.vectors:
            return _Imaged(vectors, vectors)
        return _Imaged(vectors, change(self.images, *(other.images for other in others)))


@dataclass(frozen=True)
class _History:
    """The last m steps of P problems, the oldest first: (P, m, k * (p + 1)) each."""

    steps: _Imaged
    changed: Tensor  # of the gradient

    def keep(self, mask: Tensor) -> _History:
        return _History(self.steps.each(lambda part: part[mask]), self.changed[mask])

    @staticmethod
    def extended(before: _History | None, step: _Imaged, changed: Tensor) -> _History:
        """With one more step (P, k * (p + 1)), and without the oldest if there are enough."""
        # Where rounding has eaten the curvature of a step, it is left out (all 0) for this problem.
        lengths = _sum(step.images * step.images).sqrt() * _sum(changed * changed).sqrt()
        cosine = _sum(step.images * changed) / lengths.clamp_min(1e-30)
        usable = (cosine > torch.finfo(changed.dtype).eps)[:, None]

        def one_more(new: Tensor, older: Tensor | None = None) -> Tensor:
            new = torch.where(usable, new, torch.zeros_like(new))[:, None]
            return new if older is None else torch.cat([older[:, -(HISTORY - 1) :], new], dim=1)

        if before is None:
            return _History(step.each(one_more), one_more(changed))
        return _History(step.each(one_more, before.steps), one_more(changed, before.changed))


def solve(
    design: Design,
    y: Tensor,
    k: int,
    weights: Tensor,
    c: Tensor,
    *,
    tolerance: float = SWEEP_TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    solved: Callable[[int], None] | None = None,
    softened: float = 0.0,
    most_numbers: int | None = None,
) -> Solution:
    """Solve P logistic regressions on one training set.

    Parameters
    ----------
    design : Design
        float32 is accurate enough for choosing among settings; float64 gives coefficients equal to scikit-learn's.
    y : (n,) integer tensor, labels 0..k-1
    k : int, >= 2
    weights : (n, P) tensor
        Weight of each sample in each problem; 0 holds it out.
    c : (P,) tensor
        Inverse strength of the penalty, as in scikit-learn.
    tolerance : float
        A problem is solved when its mean loss is estimated to lie this close to the minimum; in float32 never closer
        than ``FLOAT32_TOLERANCE``.
    max_iterations : int
    solved : callable, optional
        Called after every iteration (small sets: once, at the end) with the number of problems solved so far. It may
        raise to give up.
    softened : float
        How much of each sample's label is shared out evenly among the other labels.
    most_numbers : int, optional
        In one block of logits, for whoever has room for more problems at once.

    Returns
    -------
    Solution
        For two labels with one row of logits: the log odds of label 1.
    """
    rows = 1 if k == 2 else k
    if design.matrix.dtype == torch.float32:
        tolerance = max(tolerance, FLOAT32_TOLERANCE)
    if design.matrix.numel() * weights.shape[1] * rows <= ONE_CORE_PRODUCT:
        solution = run_single_threaded(
            lambda: _solve_block(design, y, k, weights, c, tolerance, max_iterations, None, softened)
        )
        if solved is not None:
            solved(weights.shape[1])
        return solution
    numbers = most_numbers or (LARGE_BLOCK_NUMBERS if design.samples > LARGE else BLOCK_NUMBERS)
    per_block = max(1, numbers // (design.samples * rows))
    parts = []
    for start in range(0, weights.shape[1], per_block):
        part = slice(start, start + per_block)
        report = None if solved is None else (lambda count, start=start: solved(start + count))
        block = _solve_block(design, y, k, weights[:, part], c[part], tolerance, max_iterations, report, softened)
        parts.append(block)
    return Solution(
        torch.cat([p.vectors for p in parts]),
        torch.cat([p.intercept for p in parts]),
        torch.cat([p.logits for p in parts], dim=1),
        torch.cat([p.iterations for p in parts]),
    )


def _solve_block(
    design: Design,
    y: Tensor,
    k: int,
    weights: Tensor,
    c: Tensor,
    tolerance: float,
    max_iterations: int,
    solved: Callable[[int], None] | None,
    softened: float,
) -> Solution:
    n, p = design.samples, design.parameters
    problems, rows = weights.shape[1], 1 if k == 2 else k
    kind = {"dtype": design.matrix.dtype}
    target = (y == 1)[None] if k == 2 else torch.nn.functional.one_hot(y, k).T
    target = target.to(**kind)[None]
    if softened:
        target = softened / (k - 1) + (1.0 - softened * k / (k - 1)) * target
    weights = weights.to(**kind).T.contiguous()
    theta = torch.zeros(problems, rows, p + 1, **kind)
    logits = torch.zeros(problems, rows, n, **kind)
    iterations = torch.zeros(problems, dtype=torch.int64)
    at = _Problems(
        index=torch.arange(problems),
        weights=weights[:, None],
        inverse_c=(1.0 / c.to(**kind))[:, None, None],
        total=_sum(weights),
        theta=theta.clone(),
        logits=logits.clone(),
        gradient=torch.empty(0),
        curvature=torch.empty(0),
        history=None,
    )
    at.gradient, at.curvature = _gradient(design, at, target)
    for iteration in range(max_iterations + 1):
        # The sums of a problem that is alone would be shared among the cores; of several, each is one core's.
        find = partial(_direction, design, at)
        direction = run_single_threaded(find) if len(at.index) == 1 else find()
        gap = -0.5 * _sum(at.gradient * direction.images) / at.total
        done = gap <= tolerance if iteration < max_iterations else torch.ones_like(gap, dtype=torch.bool)
        iterations[at.index[done & (iterations[at.index] == 0)]] = iteration
        # Leaving one by one would copy the batch too often.
        left = len(done) - int(done.sum())
        if left == 0 or left <= 0.8 * len(done):
            leaving = at.index[done]
            theta[leaving], logits[leaving] = at.theta[done], at.logits[done]
            at.keep(~done)
            direction = direction.each(lambda part, stays=~done: part[stays])
        if solved is not None:
            solved(problems - left)
        if left == 0:
            break
        along = design.logits(_flat(direction.vectors), _flat(direction.images)).reshape(at.logits.shape)
        along = along + direction.vectors[..., -1:]
        length = _line_search(at, target, direction, along)[:, None, None]
        step = direction.each(lambda part, length=length: length * part)
        at.theta = at.theta + step.vectors
        at.logits = at.logits + length * along
        before = at.gradient
        at.gradient, at.curvature = _gradient(design, at, target)
        step = step.each(lambda part: part.flatten(1))
        at.history = _History.extended(at.history, step, (at.gradient - before).flatten(1))
    intercept = theta[..., -1]
    if rows > 1:
        # Only differences between the labels' intercepts mean anything; scikit-learn's sum to 0 as well.
        shift = intercept.mean(dim=1, keepdim=True)
        intercept = intercept - shift
        logits.sub_(shift[..., None])
    return Solution(theta[..., :-1], intercept, logits.permute(2, 0, 1), iterations)


def _flat(vectors: Tensor) -> Tensor:
    """(P, k, p + 1) -> (P * k, p), without the intercepts."""
    return vectors[..., :-1].reshape(-1, vectors.shape[-1] - 1)


def _gradient(design: Design, at: _Problems, target: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient here, and the mean curvature of the loss."""
    probability = _probabilities(at.logits)
    slope = at.weights * (probability - target)
    curvature = _sum(at.weights * probability * (1.0 - probability)) / probability[0].numel()
    gradient = torch.empty_like(at.theta)
    torch.mul(at.theta, at.inverse_c, out=gradient)
    gradient[..., :-1] += design.gradient(slope.flatten(0, 1)).reshape(*slope.shape[:2], -1)
    gradient[..., -1] = _sum(slope.flatten(0, 1)).view(slope.shape[:2])
    return gradient, curvature[:, None, None]


def _sum(numbers: Tensor) -> Tensor:
    """(P, ...) -> (P,): the sum of each problem's numbers, the same to the last digit however many cores there are."""
    flat = numbers.flatten(1)
    # One that is alone would be shared among the cores.
    return flat.expand(2, -1).sum(1)[:1] if len(flat) == 1 else flat.sum(1)


def _probabilities(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def _direction(design: Design, at: _Problems) -> _Imaged:
    """Where to go: the two-loop recursion for all problems at once.

    Each factor of a loop depends on those before it, by the inner products of all steps with all changes of the
    gradient: that is a triangular system.
    """
    shape, wanted = at.gradient.shape, at.gradient.flatten(1)[:, None]
    history = at.history
    if history is None:
        return _first_guess(design, at, at.gradient).each(torch.neg)
    products = torch.bmm(history.steps.images, history.changed.transpose(1, 2)).triu()
    diagonal = products.diagonal(dim1=1, dim2=2)
    # A step that was left out is multiplied by 0 whatever it is divided by.
    diagonal.masked_fill_(diagonal == 0.0, 1.0)
    right = torch.bmm(history.steps.images, wanted.transpose(1, 2))
    first = torch.linalg.solve_triangular(products, right, upper=True)
    guess = _first_guess(design, at, (wanted - torch.bmm(first.transpose(1, 2), history.changed)).reshape(shape))
    right = diagonal[:, :, None] * first - torch.bmm(history.changed, guess.images.flatten(1)[:, :, None])
    second = torch.linalg.solve_triangular(products.transpose(1, 2), right, upper=False).transpose(1, 2)
    return guess.each(lambda part, steps: -(part + torch.bmm(second, steps).reshape(shape)), history.steps)


def _first_guess(design: Design, at: _Problems, vectors: Tensor) -> _Imaged:
    """The starting matrix of L-BFGS times vectors (P, k, p + 1)."""
    # The curvature has a floor where all samples are certain.
    curvature = at.curvature.clamp_min(1e-10)
    along = 1.0 / (curvature * design.strengths + at.inverse_c)
    # No other direction is stronger than the weakest of the leading ones.
    elsewhere = along[..., -1:]
    shares = product(_flat(vectors), design.images.T).view(*vectors.shape[:2], -1) * (along - elsewhere)
    result = torch.empty_like(vectors)
    result[..., :-1] = product(shares.flatten(0, 1), design.directions).view_as(vectors[..., :-1])
    result[..., :-1] += vectors[..., :-1] * elsewhere
    result[..., -1:] = vectors[..., -1:] / (curvature * design.samples)
    if not design.dual:
        return _Imaged(result, result)
    image = torch.empty_like(result)
    image[..., :-1] = design.image(_flat(result)).reshape(*result.shape[:2], -1)
    image[..., -1] = result[..., -1]
    return _Imaged(result, image)


def _line_search(at: _Problems, target: Tensor, direction: _Imaged, along: Tensor) -> Tensor:
    """Step lengths (P,) at which the slope along the direction has nearly vanished: Newton's method, kept in a bracket.

    Only slopes are compared, never losses: near the minimum, float32 losses are all alike while slopes still differ.
    The loss is convex, so a bracket of slopes of opposite sign always holds the minimum.
    """
    inverse_c = at.inverse_c[:, 0, 0]
    images = direction.images[..., :-1]
    steep = _sum(at.theta[..., :-1] * images) * inverse_c
    bend = _sum(direction.vectors[..., :-1] * images) * inverse_c
    weighted = at.weights * along
    # From the logits, not from the gradient: the same rounding as at the other ends of the search.
    start = _sum(weighted * (_probabilities(at.logits) - target)) + steep
    allowed = LINE_SEARCH_SLOPE * start.abs()
    step = torch.ones_like(start)
    low, high = torch.zeros_like(start), torch.full_like(start, torch.inf)
    for _ in range(LINE_SEARCH_STEPS):
        p = _probabilities(at.logits + step[:, None, None] * along)
        slope = _sum(weighted * (p - target)) + steep + step * bend
        open_still = slope.abs() > allowed
        if not bool(open_still.any()):
            break
        if p.shape[1] == 1:
            second = _sum(weighted * along * p * (1.0 - p))
        else:
            mean_along = (p * along).sum(dim=1, keepdim=True)
            second = _sum(weighted * p * (along - mean_along))
        low = torch.where(slope < 0, torch.maximum(low, step), low)
        high = torch.where(slope > 0, torch.minimum(high, step), high)
        newton = step - slope / (second + bend).clamp_min(1e-30)
        middle = torch.where(torch.isinf(high), 4.0 * step, 0.5 * (low + high))
        inside = (newton > low) & (newton < high) & (newton <= 10.0 * step)
        step = torch.where(open_still, torch.where(inside, newton, middle), step)
    return step
