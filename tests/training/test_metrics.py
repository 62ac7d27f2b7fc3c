from __future__ import annotations

import json

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st

from detector.training.metrics import CrossValidation, cross_validation_metrics, label_curves, wilson_interval


def _predictions(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    score = rng.normal(size=(n, k)) + 1.2 * np.eye(k)[y]
    # Rounded, so that equal scores occur.
    prob = np.exp(np.round(score, 1))
    return prob / prob.sum(axis=1, keepdims=True), y


@pytest.mark.parametrize("k", [2, 3, 5])
def test_figures_agree_with_scikit_learn(k):
    prob, y = _predictions(500, k)
    names = [f"label {i}" for i in range(k)]
    found = cross_validation_metrics(prob, y, names, folds=5)
    predicted = prob.argmax(axis=1)
    auc = reference.roc_auc_score(y, prob[:, 1] if k == 2 else prob, multi_class="ovr", average="macro")
    assert found.n == 500
    assert found.accuracy == pytest.approx(reference.accuracy_score(y, predicted))
    assert found.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(y, predicted))
    assert found.log_loss == pytest.approx(reference.log_loss(y, prob))
    assert found.roc_auc == pytest.approx(auc)
    assert np.array_equal(found.confusion, reference.confusion_matrix(y, predicted))
    for i, name in enumerate(names):
        curves = found.curves[name]
        assert curves.roc_auc == pytest.approx(reference.roc_auc_score(y == i, prob[:, i]))
        assert curves.average_precision == pytest.approx(reference.average_precision_score(y == i, prob[:, i]))
        assert found.labels[name].accuracy == pytest.approx(reference.recall_score(y == i, predicted == i))
        histogram = found.histograms[name]
        assert sum(histogram.correct) == found.labels[name].correct
        assert sum(histogram.correct) + sum(histogram.wrong) == found.labels[name].n
    assert sum(b.n for b in found.reliability) == 500


def test_curve_points_agree_with_scikit_learn():
    prob, y = _predictions(120, 2)
    curves = label_curves(prob[:, 1], y == 1)
    fpr, tpr, _ = reference.roc_curve(y, prob[:, 1], drop_intermediate=False)
    precision, recall, _ = reference.precision_recall_curve(y, prob[:, 1])
    assert np.allclose(curves.false_positive_rate, fpr)
    assert np.allclose(curves.true_positive_rate, tpr)
    assert np.allclose(curves.precision, precision[::-1])
    assert np.allclose(curves.recall, recall[::-1])


def test_curves_of_many_samples_are_thinned_but_keep_their_ends():
    rng = np.random.default_rng(0)
    curves = label_curves(rng.random(5000), rng.random(5000) < 0.5)
    assert len(curves.precision) == len(curves.recall) == len(curves.true_positive_rate) == 201
    assert (curves.false_positive_rate[0], curves.true_positive_rate[0]) == (0.0, 0.0)
    assert (curves.false_positive_rate[-1], curves.true_positive_rate[-1]) == (1.0, 1.0)


def test_certain_and_wrong_stays_finite():
    found = cross_validation_metrics(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), ["a", "b"], folds=2)
    assert np.isfinite(found.log_loss)


@pytest.mark.parametrize("k", [2, 3])
def test_json_and_back_gives_the_same(k):
    prob, y = _predictions(60, k)
    found = cross_validation_metrics(prob, y, [f"label {i}" for i in range(k)], folds=5, temperature=1.5)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert CrossValidation.from_json(json.loads(text)) == found


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    # Newcombe 1998, table I, and the ends.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (29, 29, 0.8830, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval_of_published_examples(k, n, low, high):
    assert wilson_interval(k, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 10_000), share=st.floats(0, 1))
def test_wilson_interval_holds_the_share_and_stays_within_bounds(n, share):
    k = round(share * n)
    low, high = wilson_interval(k, n)
    assert 0.0 <= low <= k / n <= high <= 1.0


def test_a_label_is_rare_by_its_part_of_an_even_share() -> None:
    """Of three labels with 40 images each every one was called rare: 40 is less than 35 % of 120."""

    def rare(*counts: int) -> list[bool]:
        y = np.repeat(np.arange(len(counts)), counts)
        names = [str(index) for index in range(len(counts))]
        found = cross_validation_metrics(np.eye(len(counts))[y], y, names, folds=2)
        return [found.is_rare(name) for name in names]

    assert rare(40, 40, 40) == [False, False, False]
    assert rare(146, 154) == [False, False]
    assert rare(60, 140) == [True, False]
    assert rare(20, 50, 50) == [True, False, False]


def test_near_duplicates_are_one_observation_of_the_intervals() -> None:
    """Every image five times over made the interval less than half as wide, with nothing more known."""
    rng = np.random.default_rng(0)
    y, says = rng.integers(2, size=60), rng.integers(2, size=60)
    once = cross_validation_metrics(np.eye(2)[says], y, ["a", "b"], folds=5)
    groups = [str(index) for index in range(60) for _ in range(5)]
    copies = np.eye(2)[says].repeat(5, axis=0), y.repeat(5), ["a", "b"], 5
    grouped = cross_validation_metrics(*copies, groups=groups)
    assert grouped.interval == pytest.approx(once.interval)
    assert grouped.labels["a"].interval == pytest.approx(once.labels["a"].interval)
    assert (grouped.n, grouped.labels["a"].n) == (300, 5 * once.labels["a"].n)
    assert cross_validation_metrics(*copies).interval != pytest.approx(once.interval, abs=0.02)
    alone = cross_validation_metrics(np.eye(2)[says], y, ["a", "b"], folds=5, groups=groups[::5])
    assert alone.interval == once.interval
    # One group of half the images says hardly more than one image.
    heavy = cross_validation_metrics(np.eye(2)[says], y, ["a", "b"], folds=5, groups=["x"] * 30 + groups[::5][30:])
    assert heavy.interval[1] - heavy.interval[0] > 2 * (once.interval[1] - once.interval[0])
