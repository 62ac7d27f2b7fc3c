"""Temperature scaling, and how far confidences can be believed.

Guo et al., "On Calibration of Modern Neural Networks", 2017. Logits are an ``(n, k)`` array, or ``(n, 1)`` for two
labels (the log odds of the second one), everywhere in this package.
Scipy is imported where it is used: pages import this module for its types, and must not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.arrays import Floats, Ints

# Temperatures are searched between e^-4 and e^4. Beyond that confidences are 0, 1 or 1/k anyway.
LOG_TEMPERATURE_BOUND = 4.0


@dataclass(frozen=True)
class ReliabilityBin:
    """Samples whose confidence lies in (low, high], their mean confidence and their accuracy (NaN-free: 0 if empty)."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def probabilities(logits: Floats, temperature: float = 1.0) -> Floats:
    """Turn logits into probabilities.

    Parameters
    ----------
    logits : (n, k) array, or (n, 1) for two labels
    temperature : float
        Above 1 makes confidences more modest, below 1 bolder. The order of labels never changes.

    Returns
    -------
    (n, k) array; rows sum to 1
    """
    from scipy.special import expit, softmax

    scaled = logits / temperature
    if scaled.shape[1] == 1:
        second = expit(scaled[:, 0])
        return np.column_stack([expit(-scaled[:, 0]), second])
    return np.asarray(softmax(scaled, axis=1))


def mean_log_loss(logits: Floats, y: Ints) -> float:
    """Mean negative log likelihood of the labels ``y``, from logits: exact also where a probability rounds to 0."""
    return float(np.mean(log_losses(logits, y)))


def log_losses(logits: Floats, y: Ints) -> Floats:
    """Negative log likelihood of each sample's label: (n,)."""
    from scipy.special import log_expit, log_softmax

    if logits.shape[1] == 1:
        return np.asarray(-log_expit(np.where(y == 1, logits[:, 0], -logits[:, 0])))
    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(y)), y])


def fit_temperature(logits: Floats, y: Ints) -> float:
    """The temperature under which out-of-fold logits explain the labels best.

    A weak prior (log temperature is normal around 0 with deviation 1, worth about one sample) keeps a handful of
    samples that happen to be classified perfectly from ending in confidences of 100 %.

    Parameters
    ----------
    logits : (n, k) or (n, 1) array, out-of-fold
    y : (n,) int array

    Returns
    -------
    float, between e^-4 and e^4
    """

    from scipy.optimize import minimize_scalar

    def objective(log_temperature: float) -> float:
        return len(y) * mean_log_loss(logits / np.exp(log_temperature), y) + 0.5 * log_temperature**2

    bounds = (-LOG_TEMPERATURE_BOUND, LOG_TEMPERATURE_BOUND)
    found = minimize_scalar(objective, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    return float(np.exp(found.x))


def reliability_bins(prob: Floats, y: Ints, bins: int = 10) -> list[ReliabilityBin]:
    """Confidence (of the predicted label) against accuracy, in equally wide bins over 0..1."""
    confidence = prob.max(axis=1)
    correct = prob.argmax(axis=1) == y
    edges = np.linspace(0.0, 1.0, bins + 1)
    # searchsorted's left side makes the bins open below and closed above, as in the paper.
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    result = []
    for b in range(bins):
        inside = index == b
        n = int(inside.sum())
        mean_confidence = float(confidence[inside].mean()) if n else 0.0
        accuracy = float(correct[inside].mean()) if n else 0.0
        result.append(ReliabilityBin(float(edges[b]), float(edges[b + 1]), n, mean_confidence, accuracy))
    return result


def expected_calibration_error(prob: Floats, y: Ints, bins: int = 10) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by their samples (0 is perfect)."""
    filled = reliability_bins(prob, y, bins)
    return float(sum(b.n * abs(b.confidence - b.accuracy) for b in filled) / len(y))
