"""What the solver is told of the samples: inner products, images, and the directions in which they differ most."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detector.training import design
from detector.training.design import DIRECTIONS, Design, gram_matrix
from detector.training.precomputed import prepare
from detector.training.scaling import fit_scaling
from tests.training.factories import clouds


def _features(n: int, dimension: int, rank: int | None = None) -> torch.Tensor:
    """Centred, and as unequal along their directions as embeddings are."""
    generator = torch.Generator().manual_seed(1)
    rank = rank or min(n, dimension)
    strengths = torch.arange(1, rank + 1, dtype=torch.float64) ** -0.7
    x = torch.randn((n, rank), generator=generator, dtype=torch.float64) * strengths
    x = x @ torch.linalg.qr(torch.randn((dimension, rank), generator=generator, dtype=torch.float64)).Q.T
    return x - x.mean(0)


@pytest.mark.parametrize("n", [1, 255, 256, 700])
def test_a_gram_matrix_in_blocks_is_the_product(n):
    features = _features(n, 40)
    found = gram_matrix(features)
    assert torch.allclose(found, features @ features.T, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("n", "dimension"), [(400, 200), (200, 400)])
def test_a_search_finds_the_leading_directions_by_either_way_of_telling_the_samples(n, dimension, dtype, monkeypatch):
    monkeypatch.setattr(design, "ALL_DIRECTIONS", 0)
    features = _features(n, dimension).to(dtype)
    exact = torch.linalg.eigvalsh((features @ features.T).double()).flip(0)[:DIRECTIONS]
    for matrix, dual in ((features, False), (gram_matrix(features), True)):
        found = Design.of(matrix, dual)
        assert (found.samples, found.parameters) == (n, matrix.shape[1])
        assert torch.allclose(found.strengths.double(), exact, rtol=0.08)
        assert torch.allclose(found.strengths[:12].double(), exact[:12], rtol=1e-3)
        inner = found.directions @ found.images.T
        assert torch.allclose(inner, torch.eye(DIRECTIONS, dtype=dtype), atol=1e-4 if dtype == torch.float32 else 1e-9)
        assert torch.allclose(found.image(found.directions), found.images, atol=1e-3)


@pytest.mark.parametrize(("n", "dimension"), [(400, 200), (30, 50)])
def test_few_features_have_all_their_directions(n, dimension):
    features = _features(n, dimension)
    found = Design.of(features, False)
    assert torch.allclose(found.directions.T * found.strengths @ found.directions, features.T @ features, atol=1e-9)
    assert torch.allclose(found.directions @ found.images.T, torch.eye(dimension, dtype=torch.float64), atol=1e-12)
    assert found.strengths.diff().max() <= 0.0


def test_both_ways_of_telling_the_samples_agree():
    features = _features(60, 200)
    plain, dual = Design.of(features, False), Design.of(gram_matrix(features), True)
    a = torch.randn((3, 60), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    w = a @ features
    assert torch.allclose(dual.logits(a, dual.image(a)), plain.logits(w, plain.image(w)))
    assert torch.allclose((a * dual.image(a)).sum(1), (w * w).sum(1))
    # A gradient in samples, as a sum of them, is that in features.
    assert torch.allclose(dual.gradient(a) @ features, plain.gradient(a))


@pytest.mark.parametrize(("n", "dimension", "rank"), [(2, 9, 1), (9, 2, 2), (60, 200, 3), (200, 60, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_few_directions_or_hardly_any_samples_are_no_special_case(n, dimension, rank, dtype):
    features = _features(n, dimension, rank).to(dtype)
    exact = torch.linalg.eigvalsh(features.double().T @ features.double()).flip(0)
    for matrix, dual in ((features, False), (gram_matrix(features), True)):
        found = Design.of(matrix, dual)
        assert torch.isfinite(found.directions).all()
        leading = found.strengths[found.strengths > 1e-4 * exact[0]].double()
        assert torch.allclose(leading, exact[: len(leading)], rtol=1e-3)


def test_identical_samples_have_one_direction_of_no_strength():
    found = Design.of(torch.zeros((5, 5)), dual=True)
    assert found.strengths.tolist() == [0.0]
    assert torch.isfinite(found.images).all()


def test_the_search_is_the_same_each_time(monkeypatch):
    monkeypatch.setattr(design, "ALL_DIRECTIONS", 0)
    features = _features(100, 50)
    first, again = Design.of(features, False), Design.of(features.clone(), False)
    assert torch.equal(first.directions, again.directions)
    assert first.directions.shape == (DIRECTIONS, 50)


@pytest.mark.parametrize(("counts", "dimension"), [((30, 30), 12), ((12, 14), 50)])
def test_prepared_samples_keep_all_inner_products_and_bring_solutions_back(counts, dimension):
    views = {"whole": clouds(counts, dimension)[0]}
    scaling = fit_scaling(views, ("whole",), ((0, dimension),), "standardise")
    features = scaling.apply(views)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        prepared = prepare(views, scaling, dtype)
        made = prepared.design(views)
        assert made.matrix.dtype == dtype
        assert made.dual == (sum(counts) <= dimension)
        products = made.matrix if made.dual else made.matrix @ made.matrix.T
        assert np.allclose(products, features @ features.T, atol=tolerance * 100)
        assert prepared.mean_squared_norm == pytest.approx((features**2).sum(axis=1).mean(), rel=1e-5)
        assert prepared.exact(views).design(views).matrix.dtype == torch.float64
        vectors = torch.ones((2, made.parameters), dtype=dtype)
        says = features @ prepared.coefficients(views, vectors).T
        assert np.allclose(says.T, made.logits(vectors, made.image(vectors)), atol=tolerance * 1000)
