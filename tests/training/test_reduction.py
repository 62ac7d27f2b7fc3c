"""Training on the leading directions of a large set: only above a stated size, and without costing accuracy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.training import reduction
from detector.training.folds import make_folds
from detector.training.options import SweepSettings, sweep_options
from detector.training.precomputed import prepare
from detector.training.reduction import DIRECTIONS, REDUCE_ABOVE, worth_reducing
from detector.training.scaling import fit_scaling
from detector.training.sweep import sweep
from detector.training.train import train
from tests.benchmarks.sweep import stored_features
from tests.training.factories import clouds, training_data


@pytest.fixture
def small_sets_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "REDUCE_ABOVE", 50)
    monkeypatch.setattr(reduction, "DIRECTIONS", 16)


def test_only_large_sets_with_many_features_are_reduced():
    assert (REDUCE_ABOVE, DIRECTIONS) == (5000, 1024)
    assert not worth_reducing(5000, 5824)
    assert not worth_reducing(1_000_000, 1024)
    assert worth_reducing(5001, 1025)


@pytest.mark.parametrize("scaling", ["standardise", "unit-length"])
def test_the_directions_are_the_leading_ones(small_sets_reduced, scaling):
    x, _ = clouds((60, 60), 40)
    # Half of the features hardly differ from the others: 20 directions, of which 16 say nearly everything.
    x = np.concatenate([x[:, :20], x[:, :20] + np.float32(0.01) * x[:, 20:]], axis=1)
    views = {"whole": x}
    fitted = fit_scaling(views, ("whole",), ((0, 40),), scaling)
    # Said to be exact or not: a reduced set is in float32.
    prepared, features = prepare(views, fitted, torch.float64), fitted.apply(views)
    assert prepared.exact(views) is prepared
    directions = prepared.directions.numpy()
    assert np.allclose(directions.T @ directions, np.eye(16), atol=1e-5)
    exact = np.linalg.eigvalsh(features.T @ features)[-16:]
    made, again = (prepared.design(views).matrix.numpy() for _ in range(2))
    assert np.allclose(np.linalg.eigvalsh(made.T @ made), exact, rtol=1e-3)
    assert np.array_equal(made, again)
    assert np.allclose(made, features @ directions, atol=1e-5)


def test_a_model_of_a_reduced_set_has_coefficients_for_all_features(small_sets_reduced):
    data = training_data((60, 70), 40)
    model = train(data).model
    assert model.coefficients.shape == (1, 40)
    probabilities = model.predict_proba({view: data.views[view] for view in model.views})
    assert (probabilities.argmax(axis=1) == data.labels).mean() > 0.9


def test_neither_repetition_nor_the_order_of_rows_changes_a_bit_of_a_reduced_set(small_sets_reduced):
    data = training_data((60, 70), 40)
    turned = dataclasses.replace(
        data,
        sample_keys=data.sample_keys[::-1],
        views={view: x[::-1] for view, x in data.views.items()},
        labels=data.labels[::-1],
        groups=data.groups[::-1],
    )
    first, again, other = (train(given, SweepSettings(folds=3)) for given in (data, data, turned))
    assert np.array_equal(first.model.coefficients, again.model.coefficients)
    assert np.array_equal(first.model.coefficients, other.model.coefficients)
    assert np.array_equal(first.out_of_fold, other.out_of_fold[::-1])


@pytest.mark.long
@pytest.mark.slow
def test_the_reduction_costs_no_accuracy_on_2_000_real_images(mixed2000_data: Path, monkeypatch: pytest.MonkeyPatch):
    x, y, groups = stored_features(mixed2000_data)
    views, folds = {"whole": x}, make_folds(y, groups)
    assert folds is not None
    options = sweep_options(SweepSettings(), views, {"statistics": slice(0, x.shape[1])}, y)
    exact = sweep(views, y, 2, folds, options).chosen
    monkeypatch.setattr(reduction, "REDUCE_ABOVE", 1000)
    reduced = sweep(views, y, 2, folds, options).chosen
    assert abs(reduced.accuracy - exact.accuracy) <= 0.003
    assert abs(reduced.log_loss - exact.log_loss) <= 0.005
