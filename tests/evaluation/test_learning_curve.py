from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from detector.evaluation import learning_curve
from detector.evaluation.learning_curve import forecast, measure_learning_curve, more_images
from detector.evaluation.results import LearningCurve
from tests.evaluation.made_audit_data import FIXED, audit_data_of, clouds_with_sources
from tests.training.factories import training_data


def test_more_samples_make_a_better_model_and_the_curve_says_how_much() -> None:
    audit_data = clouds_with_sources((150, 150), seed=1, dimension=60)
    curve = measure_learning_curve(audit_data)
    assert [point.n for point in curve.points] == [30, 60, 120, 240]
    accuracies = [point.accuracy for point in curve.points]
    assert accuracies[-1] > accuracies[0] + 0.03
    assert all(point.interval[0] <= point.accuracy <= point.interval[1] for point in curve.points)
    assert (curve.folds, curve.repeats, curve.measured, curve.step) == (5, 5, 300, 100)
    assert curve.gain is not None
    assert curve.sentence.startswith("Another 100 images of the same kind would")
    assert LearningCurve.from_json(curve.to_json()) == curve


def test_its_last_point_is_a_cross_validation_on_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the training's own folds only, the largest size must give the training's own accuracy."""
    audit_data = clouds_with_sources((80, 60), seed=2)
    monkeypatch.setattr(learning_curve, "make_folds", lambda *_: audit_data.folds)
    assert audit_data.out_of_fold is not None
    expected = float((audit_data.out_of_fold.argmax(axis=1) == audit_data.y).mean())
    last = measure_learning_curve(audit_data).points[-1]
    assert last.accuracy == pytest.approx(expected, abs=0.008)


def test_a_smaller_training_is_that_of_scikit_learn_on_the_drawn_samples() -> None:
    audit_data = clouds_with_sources((60, 60), seed=3)
    settings = audit_data.hyperparameters
    used = np.random.default_rng(0).random((120, 4)) < 0.4
    models = learning_curve.fit_subsets(audit_data.views, audit_data.y, 2, settings, used, prepared=audit_data.prepared)
    x = audit_data.prepared.scaling.apply(audit_data.views)
    for place in range(4):
        mine = used[:, place]
        c = settings.c / audit_data.prepared.mean_squared_norm
        reference = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x[mine], audit_data.y[mine])
        np.testing.assert_allclose(models.logits[:, place, 0], reference.decision_function(x), atol=1e-4)
        np.testing.assert_allclose(models.coefficients[place, :, 0], reference.coef_[0], atol=1e-4)


def test_a_power_law_is_continued_exactly() -> None:
    sizes = np.array([50.0, 100.0, 200.0, 400.0, 800.0])
    gain = forecast(sizes, 1 - 0.9 * sizes**-0.5, 1000, 500)
    assert gain == pytest.approx(0.9 * 1000**-0.5 - 0.9 * 1500**-0.5, rel=1e-9)


@pytest.mark.parametrize(("n", "step"), [(2000, 500), (246, 50), (60, 20), (4, 1), (100_000, 20_000)])
def test_a_forecast_reaches_no_further_than_a_third(n: int, step: int) -> None:
    assert more_images(n) == step


def test_too_few_samples_get_a_sentence_and_no_curve() -> None:
    curve = measure_learning_curve(audit_data_of(training_data((8, 8)), [None] * 16, FIXED))
    assert curve.points == ()
    assert curve.gain is None
    assert "16 labelled images are too few" in curve.sentence
    assert LearningCurve.from_json(curve.to_json()) == curve
