from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from detector.training.calibration import mean_log_loss
from detector.training.folds import make_folds
from detector.training.precomputed import prepare
from detector.training.scaling import fit_scaling
from detector.training.solver import EXACT_TOLERANCE, SWEEP_TOLERANCE, solve
from detector.training.sweep import fold_weights, sample_weights
from tests.training.factories import clouds, key

# n > D (features) and n <= D (Gram matrix); two and three labels; unequal labels.
SHAPES = [((70, 50), 12), ((25, 35), 90), ((40, 30, 20), 10), ((20, 15, 12), 80)]


def _prepared(counts, dimension, scaling="standardise", dtype=torch.float64):
    x, y = clouds(counts, dimension)
    views = {"whole": x}
    return views, y, prepare(views, fit_scaling(views, ("whole",), ((0, dimension),), scaling), dtype)


def _solve(prepared, views, y, weights, c, tolerance=EXACT_TOLERANCE):
    return solve(
        prepared.design(views),
        torch.from_numpy(y),
        int(y.max()) + 1,
        torch.from_numpy(weights),
        torch.from_numpy(c),
        tolerance=tolerance,
    )


@pytest.mark.long
@pytest.mark.parametrize("scaling", ["standardise", "unit-length"])
@pytest.mark.parametrize("class_weight", ["none", "balanced"])
@pytest.mark.parametrize(("counts", "dimension"), SHAPES)
def test_coefficients_agree_with_scikit_learn(counts, dimension, class_weight, scaling):
    views, y, prepared = _prepared(counts, dimension, scaling)
    k = len(counts)
    cs = np.array([0.1, 10.0, 1000.0]) / prepared.mean_squared_norm
    weights = np.repeat(sample_weights(y, k, class_weight, np.ones(len(y), bool))[:, None], 3, axis=1)
    found = _solve(prepared, views, y, weights, cs)
    features = prepared.scaling.apply(views)
    for p, c in enumerate(cs):
        reference = LogisticRegression(
            C=c, class_weight=None if class_weight == "none" else "balanced", tol=1e-10, max_iter=20_000
        ).fit(features, y)
        coefficients = prepared.coefficients(views, found.vectors[p])
        scale = np.abs(reference.coef_).max()
        assert np.abs(coefficients - reference.coef_).max() < 2e-5 * scale
        assert np.allclose(found.intercept[p].numpy(), reference.intercept_, atol=2e-5 * max(1, scale))


@pytest.mark.long
@pytest.mark.parametrize(("counts", "dimension"), SHAPES)
def test_fast_sweep_has_the_out_of_fold_log_loss_of_scikit_learn(counts, dimension):
    views, y, prepared = _prepared(counts, dimension, dtype=torch.float32)
    k = len(counts)
    folds = make_folds(y, [key(i) for i in range(len(y))])
    cs = np.array([0.1, 3.0, 100.0, 3000.0]) / prepared.mean_squared_norm
    for class_weight in ("none", "balanced"):
        columns = [fold_weights(y, k, folds, fold, class_weight) for fold in range(5)]
        found = _solve(prepared, views, y, np.tile(np.stack(columns, 1), 4), np.repeat(cs, 5), SWEEP_TOLERANCE)
        logits = found.logits.numpy().reshape(len(y), 4, 5, -1)[np.arange(len(y)), :, folds].astype(float)
        features = prepared.scaling.apply(views)
        for i, c in enumerate(cs):
            reference = np.empty_like(logits[:, i])
            for fold in range(5):
                model = LogisticRegression(
                    C=c, class_weight=None if class_weight == "none" else "balanced", tol=1e-8, max_iter=20_000
                ).fit(features[folds != fold], y[folds != fold])
                reference[folds == fold] = model.decision_function(features[folds == fold]).reshape(
                    -1, logits.shape[-1]
                )
            assert mean_log_loss(logits[:, i], y) == pytest.approx(mean_log_loss(reference, y), abs=1e-4)


def test_a_problem_does_not_depend_on_its_companions():
    views, y, prepared = _prepared((40, 40), 20)
    weights = np.ones((80, 3))
    cs = np.array([0.001, 0.1, 5.0])
    together = _solve(prepared, views, y, weights, cs)
    alone = _solve(prepared, views, y, weights[:, :1], cs[1:2])
    assert torch.allclose(together.vectors[1], alone.vectors[0], rtol=1e-7, atol=1e-9)
    # The strongest penalty leaves the batch first.
    assert together.iterations[0] < together.iterations[2]


def test_blocks_of_problems_give_the_same(monkeypatch):
    views, y, prepared = _prepared((40, 40), 20)
    weights, cs = np.ones((80, 4)), np.array([0.01, 0.1, 1.0, 10.0])
    whole = _solve(prepared, views, y, weights, cs)
    monkeypatch.setattr("detector.training.solver.ONE_CORE_PRODUCT", 0)
    monkeypatch.setattr("detector.training.solver.BLOCK_NUMBERS", 160)
    blocks = _solve(prepared, views, y, weights, cs)
    assert torch.allclose(whole.logits, blocks.logits, rtol=1e-6, atol=1e-8)


def test_logits_are_those_of_the_coefficients():
    views, y, prepared = _prepared((20, 15, 12), 80)
    found = _solve(prepared, views, y, np.ones((47, 1)), np.array([0.5]))
    coefficients = prepared.coefficients(views, found.vectors[0])
    expected = prepared.scaling.apply(views) @ coefficients.T + found.intercept[0].numpy()
    assert np.allclose(found.logits[:, 0].numpy(), expected, atol=1e-8)


def test_perfectly_separable_labels_and_a_weak_penalty_end():
    x = np.concatenate([np.full((20, 3), -1.0), np.full((20, 3), 1.0)])
    views, y = {"whole": x}, np.repeat([0, 1], 20)
    prepared = prepare(views, fit_scaling(views, ("whole",), ((0, 3),), "standardise"), torch.float32)
    found = _solve(prepared, views, y, np.ones((40, 1)), np.array([1e6]), SWEEP_TOLERANCE)
    assert torch.isfinite(found.logits).all()
    assert ((found.logits[:, 0, 0] > 0).numpy() == (y == 1)).all()


def test_progress_is_reported_and_may_give_up(monkeypatch):
    monkeypatch.setattr("detector.training.solver.ONE_CORE_PRODUCT", 0)
    views, y, prepared = _prepared((40, 40), 20)
    seen = []

    def solved(count: int) -> None:
        seen.append(count)
        if count:
            raise InterruptedError

    weights, c = torch.ones(80, 10), torch.logspace(-5, 1, 10, dtype=torch.float64)
    with pytest.raises(InterruptedError):
        solve(prepared.design(views), torch.from_numpy(y), 2, weights, c, tolerance=SWEEP_TOLERANCE, solved=solved)
    assert 0 < seen[-1] < 10
