from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler, normalize

from detector.training.scaling import fit_scaling
from tests.training.factories import clouds


def test_standardised_columns_agree_with_scikit_learn_over_many_chunks():
    x = clouds((5000, 4500), 7)[0]
    scaling = fit_scaling({"whole": x}, ("whole",), ((0, 7),), "standardise")
    assert np.allclose(scaling.apply({"whole": x}), StandardScaler().fit_transform(x.astype(float)), atol=1e-9)


def test_unit_length_rows_are_centred():
    x = clouds((30, 30), 9)[0]
    scaled = fit_scaling({"whole": x}, ("whole",), ((0, 9),), "unit-length").apply({"whole": x})
    expected = normalize(x.astype(float))
    assert np.allclose(scaled, expected - expected.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 1e-3, 12345.678])
def test_columns_that_never_vary_become_zero(constant):
    x = clouds((30, 30), 5)[0]
    x[:, 2] = constant
    scaling = fit_scaling({"whole": x}, ("whole",), ((0, 5),), "standardise")
    assert np.abs(scaling.apply({"whole": x})[:, 2]).max() < 1e-6


def test_an_embedding_of_zeros_has_no_direction_and_no_warning():
    x = clouds((30, 30), 5)[0]
    x[7] = 0.0
    with np.errstate(all="raise"):
        scaled = fit_scaling({"whole": x}, ("whole",), ((0, 5),), "unit-length").apply({"whole": x})
    assert np.isfinite(scaled).all()


@pytest.mark.parametrize("scaling", ["standardise", "unit-length"])
def test_both_views_are_the_mean_of_the_gram_matrices(scaling):
    views = {"whole": clouds((20, 20), 6)[0], "detail": clouds((20, 20), 6, seed=3)[0]}

    def gram(*names: str) -> np.ndarray:
        features = fit_scaling(views, names, ((0, 6),), scaling).apply(views)
        return features @ features.T

    assert np.allclose(gram("whole", "detail"), (gram("whole") + gram("detail")) / 2, atol=1e-10)
