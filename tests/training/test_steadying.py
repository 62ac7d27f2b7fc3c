"""Columns that copies move are made smaller and labels softer: in the model, in what is refitted of it, and no more."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from detector.training.copies import Copies
from detector.training.precomputed import prepare
from detector.training.refit import Hyperparameters, fit_subsets, logits_without
from detector.training.scaling import fit_scaling
from detector.training.solver import EXACT_TOLERANCE, solve
from detector.training.steadying import FLOOR, SOFTENED, steadied
from detector.training.train import TrainedModel, TrainingData, train
from tests.training.factories import clouds, key
from tests.training.test_copies import InAFile

N, DIMENSION, FRAGILE = 400, 60, 30


def travelled(x: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """What a journey does to features: it moves the first ones much farther than the others."""
    rng = np.random.default_rng(seed)
    deviation = np.where(np.arange(DIMENSION) < FRAGILE, strength, 0.3 * strength).astype(np.float32)
    return x + deviation * rng.standard_normal(x.shape, dtype=np.float32)


def pictures(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first ones tell hardly anything, and labels of which a few are wrong."""
    rng = np.random.default_rng(seed)
    y = np.arange(N) % 2
    tells = np.where(np.arange(DIMENSION) < FRAGILE, 0.02, 0.2)
    x = rng.standard_normal((N, DIMENSION)) + (2 * y - 1)[:, None] * tells
    return x.astype(np.float32), np.where(rng.random(N) < 0.03, 1 - y, y)


def copies_of(x: np.ndarray, count: int = 3, strength: float = 0.7) -> Copies:
    of, numbers = np.tile(np.arange(len(x)), count), np.repeat(np.arange(count), len(x))
    return Copies(of, numbers, {"whole": np.concatenate([travelled(x, strength, 100 + i) for i in range(count)])})


def data_of(x: np.ndarray, y: np.ndarray, copies: Copies | None) -> TrainingData:
    keys = sorted(key(i) for i in range(len(y)))
    return TrainingData(
        keys, {"whole": x}, {"statistics": slice(0, x.shape[1])}, y, ["real", "synthetic"], keys, copies=copies
    )


@pytest.fixture(scope="module")
def hardened() -> tuple[TrainingData, TrainedModel]:
    x, y = pictures()
    data = data_of(x, y, copies_of(x))
    return data, train(data)


@pytest.mark.parametrize("counts", [(70, 50), (40, 30, 20)])
def test_softened_labels_are_samples_that_partly_carry_another_label(counts: tuple[int, ...]) -> None:
    x, y = clouds(counts, 12)
    k, views = len(counts), {"whole": x}
    prepared = prepare(views, fit_scaling(views, ("whole",), ((0, 12),), "standardise"), torch.float64)
    c = 10.0 / prepared.mean_squared_norm
    found = solve(
        prepared.design(views),
        torch.from_numpy(y),
        k,
        torch.ones((len(y), 1), dtype=torch.float64),
        torch.tensor([c]),
        tolerance=EXACT_TOLERANCE,
        softened=0.1,
    )
    features = prepared.scaling.apply(views)
    every = np.repeat(np.arange(k), len(y))
    weights = np.where(every == np.tile(y, k), 0.9, 0.1 / (k - 1))
    reference = LogisticRegression(C=c, tol=1e-10, max_iter=20_000).fit(np.tile(features, (k, 1)), every, weights)
    coefficients = prepared.coefficients(views, found.vectors[0])
    assert np.abs(coefficients - reference.coef_).max() < 2e-5 * np.abs(reference.coef_).max()
    assert np.allclose(found.intercept[0].numpy(), reference.intercept_, atol=2e-5)


@pytest.mark.parametrize("scaling", ["standardise", "unit-length"])
def test_a_column_gets_smaller_the_farther_copies_lie_from_their_originals_in_it(scaling: str) -> None:
    x, _ = pictures()
    plain = fit_scaling({"whole": x}, ("whole",), ((0, DIMENSION),), scaling)
    steady = steadied(plain, {"whole": x}, copies_of(x))
    factors = plain.scale / steady.scale
    assert factors[:FRAGILE].max() < 0.5 * factors[FRAGILE:].min()
    assert factors.max() <= 1 / FLOOR
    assert np.array_equal(steady.mean, plain.mean)
    # The order of copies means nothing, and what is in a file is the same as what is in memory.
    mixed = copies_of(x)
    order = np.random.default_rng(5).permutation(len(mixed))
    shuffled = Copies(mixed.of[order], mixed.numbers[order], {"whole": mixed.views["whole"][order]})
    assert np.allclose(steadied(plain, {"whole": x}, shuffled).scale, steady.scale)
    assert np.array_equal(steadied(plain, {"whole": InAFile(x)}, mixed).scale, steady.scale)  # type: ignore[dict-item]


def test_a_column_that_never_varies_and_copies_that_are_their_originals_do_no_harm() -> None:
    x, _ = pictures()
    x[:, 7] = 3.0
    plain = fit_scaling({"whole": x}, ("whole",), ((0, DIMENSION),), "standardise")
    same = Copies(np.arange(N), np.zeros(N, dtype=np.int64), {"whole": x.copy()})
    assert np.array_equal(steadied(plain, {"whole": x}, same).scale, plain.scale)
    moved = steadied(plain, {"whole": x}, copies_of(x)).scale
    assert np.isfinite(moved).all()
    assert (moved > 0).all()


def test_a_model_leans_less_on_what_copies_move_and_stands_a_stronger_change(
    hardened: tuple[TrainingData, TrainedModel],
) -> None:
    _, model = hardened
    assert model.hyperparameters["steadied"] is True
    assert model.hyperparameters["softened"] == SOFTENED
    assert model.hardening is not None
    assert model.hardening.after.degraded_loss < model.hardening.before.degraded_loss
    without = train(data_of(*pictures(), None))
    assert "steadied" not in without.hyperparameters
    x, y = pictures(seed=1)
    far = {"whole": travelled(x, 2.8, 7)}
    right = [float((each.model.predict_proba(far).argmax(axis=1) == y).mean()) for each in (without, model)]
    assert right[1] > right[0] + 0.03


def test_what_is_refitted_of_a_model_is_the_model(hardened: tuple[TrainingData, TrainedModel]) -> None:
    data, model = hardened
    settings = Hyperparameters.of_model(model.hyperparameters, model.model.slices)
    everything = np.ones((N, 1), dtype=bool)
    again = fit_subsets(data.views, np.asarray(data.labels), 2, settings, everything, copies=data.copies)
    assert np.allclose(again.prepared.scaling.scale, model.model.scale)
    size = np.abs(model.model.coefficients).max()
    assert np.abs(again.coefficients[0].T - model.model.coefficients).max() < 1e-3 * size


def test_nothing_of_a_copy_whose_original_is_left_out_reaches_the_scaling(
    hardened: tuple[TrainingData, TrainedModel],
) -> None:
    data, model = hardened
    assert data.copies is not None
    settings = Hyperparameters.of_model(model.hyperparameters, model.model.slices)
    judged = np.arange(N) % 4 == 0
    wild = {"whole": np.where(judged[data.copies.of][:, None], 1e3, data.copies.views["whole"]).astype(np.float32)}
    found = [
        logits_without(data.views, np.asarray(data.labels), 2, settings, ~judged, judged, copies)
        for copies in (data.copies, dataclasses.replace(data.copies, views=wild))
    ]
    assert np.array_equal(found[0], found[1])


def test_a_model_that_was_stored_before_is_refitted_as_it_was_trained() -> None:
    old = {"views": "whole", "scaling": "standardise", "c": 100.0, "class_weight": "none", "copies": 4}
    settings = Hyperparameters.of_model(old, ((0, DIMENSION),))
    assert (settings.steadied, settings.softened) == (False, 0.0)
    x, y = pictures()
    models = fit_subsets({"whole": x}, y, 2, settings, np.ones((N, 1), dtype=bool), copies=copies_of(x))
    assert np.array_equal(
        models.prepared.scaling.scale, fit_scaling({"whole": x}, ("whole",), ((0, DIMENSION),), "standardise").scale
    )
