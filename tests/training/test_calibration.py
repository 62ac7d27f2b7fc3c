from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from detector.training.calibration import (
    expected_calibration_error,
    fit_temperature,
    mean_log_loss,
    probabilities,
    reliability_bins,
)


def _honest(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose probabilities are true: labels are drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 1 if k == 2 else k)) * 2
    cumulative = probabilities(logits).cumsum(axis=1)
    return logits, (rng.random(n)[:, None] > cumulative[:, :-1]).sum(axis=1)


@pytest.mark.parametrize("k", [2, 4])
def test_temperature_finds_the_factor_that_logits_were_exaggerated_by(k):
    logits, y = _honest(20_000, k)
    assert fit_temperature(logits, y) == pytest.approx(1.0, rel=0.05)
    assert fit_temperature(logits * 3, y) == pytest.approx(3 * fit_temperature(logits, y), rel=1e-3)


def test_temperature_minimises_the_log_loss_on_many_samples():
    logits, y = _honest(5_000, 3)
    plain = minimize_scalar(lambda t: mean_log_loss(logits * 2 / np.exp(t), y), bounds=(-3, 3), method="bounded")
    assert fit_temperature(logits * 2, y) == pytest.approx(np.exp(plain.x), rel=2e-3)


def test_four_perfect_samples_do_not_make_the_model_certain():
    temperature = fit_temperature(np.array([[-1.0], [-1.0], [1.0], [1.0]]), np.array([0, 0, 1, 1]))
    assert 0.1 < temperature < 1.0


@pytest.mark.parametrize("k", [2, 3])
def test_log_loss_agrees_with_scikit_learn(k):
    logits, y = _honest(300, k)
    assert mean_log_loss(logits, y) == pytest.approx(log_loss(y, probabilities(logits)), rel=1e-12)


def test_log_loss_stays_finite_where_probabilities_vanish():
    assert mean_log_loss(np.array([[-5000.0]]), np.array([1])) == pytest.approx(5000.0)


def test_reliability_bins_by_hand():
    prob = np.array([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6], [0.45, 0.55]])
    y = np.array([0, 1, 1, 1])
    bins = {round(b.high, 1): b for b in reliability_bins(prob, y) if b.n}
    assert {high: b.n for high, b in bins.items()} == {0.6: 2, 0.9: 1, 1.0: 1}
    assert bins[0.6].confidence == pytest.approx(0.575)
    assert bins[0.6].accuracy == 1.0
    assert expected_calibration_error(prob, y) == pytest.approx((2 * 0.425 + 0.1 + 0.95) / 4)


def test_true_probabilities_have_a_small_calibration_error():
    logits, y = _honest(20_000, 2)
    assert expected_calibration_error(probabilities(logits), y) < 0.015
    assert expected_calibration_error(probabilities(logits * 4), y) > 0.1
