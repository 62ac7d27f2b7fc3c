"""How much data is enough: accuracy over training size, and what more images would bring."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from detector.arrays import Floats, Ints
from detector.evaluation.audit_data import AuditData
from detector.evaluation.power_law import accuracy_at
from detector.evaluation.results import LearningCurve, LearningPoint
from detector.progress import Report, silent
from detector.training.folds import make_folds
from detector.training.metrics import Z95
from detector.training.refit import fit_subsets, predicted

REPEATS = 5
#: From one size to the next.
GROWTH = 2.0
SMALLEST = 20
#: A gain below this share is not worth naming.
WORTH_NAMING = 0.005


def measure_learning_curve(audit_data: AuditData, report: Report = silent) -> LearningCurve:
    """Train on fewer and fewer samples, at the chosen hyperparameters, and judge out-of-fold.

    Every repeat deals the samples into other folds and draws other subsets, each contained in the next larger one,
    every label keeping its share.

    Parameters
    ----------
    audit_data : AuditData
    report : Report

    Returns
    -------
    LearningCurve
        Without points, and with a sentence that says why, where there are too few samples.
    """
    report("evaluate", 0, REPEATS, "Training on fewer images", None)
    n, y, k = len(audit_data.y), audit_data.y, audit_data.k
    seed = int(audit_data.model.hyperparameters["seed"])
    folds_of = [make_folds(y, audit_data.groups, max(audit_data.fold_count, 2), seed + r) for r in range(REPEATS)]
    sizes = _sizes(n * (audit_data.fold_count - 1) // audit_data.fold_count) if audit_data.fold_count else []
    if len(sizes) < 2 or any(folds is None for folds in folds_of):
        return LearningCurve((), audit_data.fold_count, REPEATS, n, 0, None, None, _too_few(n))
    accuracy, counts = np.zeros((REPEATS, len(sizes))), np.zeros((REPEATS, len(sizes)))
    for repeat, folds in enumerate(folds_of):
        assert folds is not None
        drawn = [
            _subsets(y, k, audit_data.groups, folds != fold, sizes, f"{seed + repeat}:{fold}")
            for fold in range(int(folds.max()) + 1)
        ]
        used = np.concatenate(drawn, axis=1)
        models = fit_subsets(
            audit_data.views,
            y,
            k,
            audit_data.hyperparameters,
            used,
            coefficients=False,
            prepared=audit_data.prepared,
            copies=audit_data.copies,
        )
        right = (predicted(models.logits) == y[:, None]).reshape(n, len(drawn), len(sizes))
        accuracy[repeat] = right[np.arange(n), folds].mean(axis=0)
        counts[repeat] = used.sum(axis=0).reshape(len(drawn), len(sizes)).mean(axis=0)
        report("evaluate", repeat + 1, REPEATS, "Training on fewer images", None)
    return _curve(audit_data, counts.mean(axis=0), accuracy)


def more_images(n: int) -> int:
    """A round number of further images that ``n`` images can say something about: at most a third of them."""
    steps = [base * 10**power for power in range(7) for base in (1, 2, 5)]
    return max((step for step in steps if step <= n / 3), default=1)


def forecast(sizes: Floats, accuracy: Floats, n: int, step: int) -> float:
    """By how much the accuracy rises from ``n`` to ``n + step`` samples, by the law of the largest sizes measured."""
    now, then = accuracy_at(sizes.tolist(), accuracy.tolist(), [n, n + step]).tolist()
    return float(then - now)


def _curve(audit_data: AuditData, sizes: Floats, accuracy: Floats) -> LearningCurve:
    n = len(audit_data.y)
    mean, spread = accuracy.mean(axis=0), Z95 * accuracy.std(axis=0, ddof=1)
    points = tuple(
        LearningPoint(round(size), float(value), (float(max(value - width, 0.0)), float(min(value + width, 1.0))))
        for size, value, width in zip(sizes, mean, spread, strict=True)
    )
    step = more_images(n)
    # Each repeat has its own forecast: their spread says how far to believe the mean of them.
    gains = np.array([forecast(sizes, row, n, step) for row in accuracy])
    width = float(Z95 * gains.std(ddof=1))
    gain = forecast(sizes, mean, n, step)
    bounds = (gain - width, gain + width)
    return LearningCurve(points, audit_data.fold_count, REPEATS, n, step, gain, bounds, _sentence(step, gain, bounds))


def _sentence(step: int, gain: float, bounds: tuple[float, float]) -> str:
    low, points, high = (round(100 * max(share, 0.0), 1) for share in (bounds[0], gain, bounds[1]))
    if points == 0:
        return f"Another {step:,} images of the same kind would bring no measurable gain."
    verb = "would bring" if gain >= WORTH_NAMING else "would hardly help:"
    return (
        f"Another {step:,} images of the same kind {verb} about {points:g} point{'' if points == 1 else 's'} "
        f"({low:g} to {high:g} over {REPEATS} repeats with these images)."
    )


def _too_few(n: int) -> str:
    return f"{n:,} labelled images are too few to say what more would bring; that takes about {4 * SMALLEST}."


def _sizes(most: int) -> list[int]:
    """Training sizes in ascending order, each half of the next, down to `SMALLEST`."""
    sizes = [most]
    while sizes[0] / GROWTH >= SMALLEST and len(sizes) < 7:
        sizes.insert(0, int(sizes[0] / GROWTH))
    return sizes


def _subsets(
    y: Ints, k: int, groups: Sequence[str], allowed: np.ndarray, sizes: Sequence[int], seed: str
) -> np.ndarray:
    """(n, sizes) bool: nested subsets of the allowed samples with every label's share kept."""
    rank = {group: hashlib.sha256(f"{seed}:{group}".encode()).digest() for group in set(groups)}
    result = np.zeros((len(y), len(sizes)), dtype=bool)
    total = int(allowed.sum())
    for label in range(k):
        mine = np.flatnonzero(allowed & (y == label))
        ordered = sorted(mine.tolist(), key=lambda index: (rank[groups[index]], index))
        for place, size in enumerate(sizes):
            share = max(1, round(len(ordered) * min(size / total, 1.0)))
            result[ordered[:share], place] = True
    return result
