from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import sklearn.metrics as reference
from sklearn.linear_model import LogisticRegression

from detector.errors import InvalidInput, JobCancelled, NotTrainable
from detector.training.model_file import write_model
from detector.training.options import SweepSettings
from detector.training.readiness import missing_sentence
from detector.training.train import TrainingData, train
from tests.training.factories import training_data


def _reordered(data: TrainingData, order: np.ndarray) -> TrainingData:
    return dataclasses.replace(
        data,
        sample_keys=[data.sample_keys[i] for i in order],
        groups=[data.groups[i] for i in order],
        labels=data.labels[order],
        views={name: embeddings[order] for name, embeddings in data.views.items()},
    )


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(60, 45), (40, 30, 30)])
def test_the_model_is_scikit_learns_with_the_chosen_settings(counts):
    data = training_data(counts)
    trained = train(data)
    chosen, model = trained.hyperparameters, trained.model
    raw = data.views["whole"].astype(float)
    if chosen["scaling"] == "unit-length":
        raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    expected = LogisticRegression(
        C=chosen["C"], class_weight=None if chosen["class_weight"] == "none" else "balanced", tol=1e-10, max_iter=9999
    ).fit((raw - model.mean) / model.scale, data.labels)
    assert np.allclose(model.coefficients, expected.coef_, atol=1e-5 * np.abs(expected.coef_).max())
    assert np.allclose(model.intercept, expected.intercept_, atol=1e-5)


def test_metrics_are_those_of_the_out_of_fold_predictions():
    data = training_data((60, 60))
    trained = train(data)
    prob, found = trained.out_of_fold, trained.cross_validation
    assert found.accuracy == pytest.approx(reference.accuracy_score(data.labels, prob.argmax(axis=1)))
    assert found.log_loss == pytest.approx(reference.log_loss(data.labels, prob))
    assert found.folds == trained.hyperparameters["folds"] == 5
    # Out-of-fold must be worse than asking the model about its own training set.
    assert found.log_loss > reference.log_loss(data.labels, trained.model.predict_proba(data.views))
    assert json.loads(json.dumps(trained.hyperparameters)) == trained.hyperparameters
    assert set(trained.hyperparameters) == {
        "views", "features", "scaling", "c", "C", "class_weight", "folds", "seed"
    }  # fmt: skip


def test_noise_is_not_learned():
    data = training_data((100, 100), 300)
    labels = np.random.default_rng(3).permutation(data.labels)
    found = train(dataclasses.replace(data, labels=labels)).cross_validation
    assert 0.35 < found.accuracy < 0.65


def test_near_duplicates_do_not_leak():
    """Every noise image twice: apart, the twin in the training part would give the label away."""
    rng = np.random.default_rng(0)
    twice = np.repeat(rng.normal(size=(60, 200)), 2, axis=0).astype(np.float32)
    data = training_data((60, 60), 200)
    labels = np.repeat(rng.permutation(60) % 2, 2)
    leaking = dataclasses.replace(data, views={"whole": twice}, labels=labels)
    grouped = dataclasses.replace(leaking, groups=[f"pair {i // 2}" for i in range(120)])
    assert train(leaking).cross_validation.accuracy > 0.85
    assert train(grouped).cross_validation.accuracy < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(50, 40), (20, 25, 30)])
def test_neither_repetition_nor_the_order_of_rows_changes_a_bit(counts):
    data = training_data(counts, 40, detail=True)
    order = np.random.default_rng(1).permutation(sum(counts))
    settings = SweepSettings(c=(1.0, 10.0, 100.0))
    first, again, shuffled = (train(given, settings) for given in (data, data, _reordered(data, order)))
    for other in (again, shuffled):
        assert write_model(first.model) == write_model(other.model)
        assert first.hyperparameters == other.hyperparameters
        assert first.cross_validation == other.cross_validation
        assert first.sweep_results == other.sweep_results
    assert np.array_equal(first.out_of_fold, again.out_of_fold)
    assert np.array_equal(first.out_of_fold[order], shuffled.out_of_fold)


def test_a_label_with_one_sample_is_left_out_and_named():
    data = training_data((20, 1, 20), names=["real", "lonely", "synthetic"])
    trained = train(data)
    lonely = data.labels == 1
    assert trained.model.label_names == ("real", "synthetic")
    assert "The label lonely has only 1 sample" in trained.note
    assert np.isnan(trained.out_of_fold[lonely]).all()
    assert np.isfinite(trained.out_of_fold[~lonely]).all()
    assert trained.cross_validation.n == 40


def test_two_samples_a_label_are_enough():
    trained = train(training_data((2, 2)))
    assert trained.cross_validation.folds == 2
    assert trained.cross_validation.n == 4
    assert trained.note == ""


def test_without_valid_folds_the_model_goes_live_unvalidated():
    data = training_data((2, 5), names=["real", "synthetic"])
    groups = ["twins" if label == 0 else key for key, label in zip(data.sample_keys, data.labels, strict=True)]
    data = dataclasses.replace(data, groups=groups)
    trained = train(data)
    assert trained.cross_validation is None
    assert trained.out_of_fold is None
    assert trained.sweep_results == []
    assert trained.hyperparameters["folds"] == 0
    assert trained.hyperparameters["scaling"] == "standardise"
    assert trained.hyperparameters["c"] == 1.0
    assert "all samples labelled real are near-duplicates" in trained.note
    assert np.isfinite(trained.model.predict_proba(data.views)).all()


def test_identical_embeddings_give_a_model_that_knows_nothing():
    data = training_data((10, 10), 6)
    data = dataclasses.replace(data, views={"whole": np.ones((20, 6), np.float32)})
    trained = train(data)
    assert np.allclose(trained.model.predict_proba(data.views), 0.5, atol=1e-3)


def test_settings_can_be_fixed():
    settings = SweepSettings(
        views=("both",),
        features=("statistics",),
        scaling=("unit-length",),
        c=(7.0,),
        class_weight=("balanced",),
        folds=3,
    )
    trained = train(training_data((30, 20), detail=True), settings)
    expected = {"views": "both", "features": "statistics", "scaling": "unit-length", "c": 7.0, "folds": 3, "seed": 0}
    assert expected.items() <= trained.hyperparameters.items()
    assert trained.hyperparameters["class_weight"] == "balanced"
    assert trained.model.views == ("whole", "detail")
    assert len(trained.sweep_results) == 1


def test_another_seed_makes_other_folds():
    data = training_data((40, 40))
    first, other = train(data, SweepSettings(seed=0)), train(data, SweepSettings(seed=1))
    assert not np.array_equal(first.out_of_fold, other.out_of_fold)


def test_more_samples_than_features_and_fewer_agree():
    """The same set through the covariance and, with columns of zeros added, through the Gram matrix."""
    data = training_data((50, 50), 20)
    x = data.views["whole"]
    wide = dataclasses.replace(
        data, views={"whole": np.pad(x, ((0, 0), (0, 100)))}, features={"statistics": slice(0, 120)}
    )
    narrow_model, wide_model = train(data), train(wide)
    assert narrow_model.hyperparameters["c"] == wide_model.hyperparameters["c"]
    assert np.allclose(narrow_model.model.coefficients, wide_model.model.coefficients[:, :20], atol=1e-6)
    assert np.allclose(narrow_model.out_of_fold, wide_model.out_of_fold, atol=1e-3)


def test_the_fingerprint_follows_samples_and_labels():
    data = training_data((10, 10))
    labels = data.labels.copy()
    labels[0] = 1 - labels[0]
    settings = SweepSettings(c=(1.0,))
    first = train(data, settings).model.training_fingerprint
    assert first == train(data, settings).model.training_fingerprint
    assert first != train(dataclasses.replace(data, labels=labels), settings).model.training_fingerprint


def test_progress_may_cancel():
    def cancel(done: int, total: int, message: str) -> None:
        if done > 0:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        train(training_data(), progress=cancel)


def test_embeddings_that_are_not_finite_are_refused():
    data = training_data()
    data.views["whole"][3, 4] = np.nan
    with pytest.raises(InvalidInput) as caught:
        train(data)
    assert "not finite" in str(caught.value)


@pytest.mark.parametrize("counts", [(0, 0), (40, 1), (40, 0)])
def test_too_little_to_train_is_an_error_with_that_sentence(counts):
    data = training_data(counts, names=["real", "synthetic"])
    with pytest.raises(NotTrainable) as caught:
        train(data)
    assert str(caught.value) == missing_sentence({"real": counts[0], "synthetic": counts[1]})
