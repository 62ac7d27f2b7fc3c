"""What to label next: uncertain, and not the same thing over and over."""

from __future__ import annotations

import time

import numpy as np
import pytest

from detector.evaluation.usefulness import DIVERSE, usefulness


def _of(first: np.ndarray) -> np.ndarray:
    return np.stack([first, 1 - first], axis=1)


def _first(scores: np.ndarray, count: int) -> list[int]:
    return np.argsort(-scores, kind="stable")[:count].tolist()


def test_the_first_ones_come_from_every_cluster_though_one_is_the_most_uncertain() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(5), 200)
    embeddings = 5 * np.eye(16)[cluster] + 0.3 * rng.standard_normal((1000, 16))
    # All of cluster 0 is nearer to one half than any of the others.
    probabilities = _of(0.5 + 0.05 * (cluster > 0) + 0.02 * rng.random(1000))
    scores = usefulness(probabilities, embeddings)
    assert set(cluster[_first(scores, 5)]) == set(range(5))
    by_uncertainty = np.argsort(np.abs(probabilities[:, 0] - 0.5), kind="stable")[:5]
    assert set(cluster[by_uncertainty]) == {0}


def test_of_copies_one_is_chosen_and_the_others_come_after_everything_else() -> None:
    rng = np.random.default_rng(1)
    embeddings = rng.standard_normal((40, 8))
    embeddings[1:10] = embeddings[0]
    order = _first(usefulness(_of(np.r_[np.full(10, 0.5), rng.uniform(0.6, 0.9, 30)]), embeddings), 40)
    assert order[0] == 0
    assert set(order[31:]) == set(range(1, 10))


def test_what_is_certain_is_worth_less_than_what_is_not_however_far_away() -> None:
    rng = np.random.default_rng(2)
    embeddings = rng.standard_normal((100, 32))
    probabilities = _of(np.r_[np.full(50, 0.999), rng.uniform(0.4, 0.6, 50)])
    assert min(_first(usefulness(probabilities, embeddings), 40)) >= 50


def test_behind_the_chosen_ones_the_order_is_that_of_uncertainty() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet((1, 1, 1), 5000)
    scores = usefulness(probabilities, rng.standard_normal((5000, 16)))
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores > 0.5).sum() == DIVERSE
    rest = np.flatnonzero(scores <= 0.5)
    two = np.sort(probabilities, axis=1)[:, -2:]
    margin = two[:, 1] - two[:, 0]
    assert (np.diff(margin[rest[np.argsort(-scores[rest], kind="stable")]]) >= 0).all()
    # Nothing is chosen for being far away alone.
    assert margin[scores > 0.5].max() <= np.sort(margin)[3000]


def test_few_alike_and_none_are_no_fault() -> None:
    assert usefulness(np.zeros((0, 2)), np.zeros((0, 4))).shape == (0,)
    assert usefulness(_of(np.array([0.3])), np.zeros((1, 4))).tolist() == [1.0]
    same = usefulness(_of(np.full(4, 1.0)), np.zeros((4, 4)))
    assert _first(same, 4) == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_hundred_thousand_take_hardly_longer_than_ten_thousand_and_give_the_same_twice() -> None:
    """Kind: a time asserted. Beyond the most uncertain few thousand, another sample costs next to nothing."""
    rng = np.random.default_rng(4)
    probabilities = _of(rng.random(100_000))
    embeddings = rng.standard_normal((100_000, 128), dtype=np.float32).astype(np.float16)

    def seconds(count: int) -> float:
        start = time.process_time()
        usefulness(probabilities[:count], embeddings[:count])
        return time.process_time() - start

    few, many = (min(seconds(count) for _ in range(3)) for count in (10_000, 100_000))
    assert many < 5 * few
    scores = usefulness(probabilities, embeddings)
    np.testing.assert_array_equal(scores, usefulness(probabilities, embeddings))
