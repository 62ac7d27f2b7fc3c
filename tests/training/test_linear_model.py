from __future__ import annotations

import numpy as np
import pytest

from detector.errors import InvalidInput
from detector.training.options import SweepSettings
from detector.training.train import train
from tests.training.factories import training_data


@pytest.mark.parametrize("counts", [(20, 20), (20, 20, 20)])
def test_probabilities_are_those_of_the_formula(counts):
    data = training_data(counts, 10)
    model = train(data, SweepSettings(scaling=("standardise",), c=(3.0,))).model
    prob = model.predict_proba(data.views)
    scores = ((data.views["whole"] - model.mean) / model.scale) @ model.coefficients.T + model.intercept
    if len(counts) == 2:
        scores = np.column_stack([np.zeros(len(scores)), scores[:, 0]])
    expected = np.exp(scores / model.temperature)
    assert np.allclose(prob, expected / expected.sum(axis=1, keepdims=True))
    assert np.allclose(prob.sum(axis=1), 1.0)


@pytest.mark.parametrize("scaling", ["standardise", "unit-length"])
def test_one_image_gets_the_same_verdict_alone_and_in_company(scaling):
    data = training_data((40, 40), 333, detail=True)
    model = train(data, SweepSettings(views=("both",), scaling=(scaling,), c=(3.0,))).model
    together = model.predict_proba(data.views)
    for i in range(0, 80, 7):
        alone = model.predict_proba({name: embeddings[i : i + 1] for name, embeddings in data.views.items()})
        assert np.array_equal(alone[0], together[i])


def test_embeddings_that_do_not_fit_are_refused():
    data = training_data((10, 10), 6, detail=True)
    model = train(data, SweepSettings(views=("both",), c=(1.0,))).model
    with pytest.raises(InvalidInput) as missing:
        model.predict_proba({"whole": data.views["whole"]})
    assert "detail" in str(missing.value)
    with pytest.raises(InvalidInput) as narrow:
        model.predict_proba({name: embeddings[:, :5] for name, embeddings in data.views.items()})
    assert "6 numbers" in str(narrow.value)
