"""Rows of degraded copies beside those of their originals: weights, places, and matrices that lie in files."""

from __future__ import annotations

import numpy as np
import pytest

from detector.training.copies import Copies, below, stacked
from detector.training.sweep import sample_weights


def made(n: int = 5, copies: int = 2, dimension: int = 3) -> tuple[np.ndarray, Copies]:
    rows = np.arange(n * dimension, dtype=np.float32).reshape(n, dimension)
    of, numbers = np.tile(np.arange(n), copies), np.repeat(np.arange(copies), n)
    return rows, Copies(of, numbers, {"whole": rows[of] + 100 * (1 + numbers[:, None].astype(np.float32))})


def test_a_sample_and_its_copies_weigh_as_much_as_a_sample_without() -> None:
    rows, copies = made()
    few = copies.of_rows(np.array([0, 1, 2, 3, 4]))
    some = Copies(few.of[:7], few.numbers[:7], {"whole": few.views["whole"][:7]})
    stack = stacked({"whole": rows}, some)
    assert np.bincount(stack.of, stack.weights) == pytest.approx(np.ones(5))
    # Two samples have two copies, three one each.
    assert sorted(np.round(stack.weights, 6).tolist()) == [0.333333] * 6 + [0.5] * 6
    alone = stacked({"whole": rows}, None)
    assert alone.weights.tolist() == [1.0] * 5
    assert alone.views["whole"] is rows


def test_copies_follow_their_samples_into_a_subset_and_into_another_order() -> None:
    rows, copies = made()
    kept = np.array([4, 1])
    theirs = copies.of_rows(kept)
    assert theirs.of.tolist() == [0, 1, 0, 1]
    assert theirs.numbers.tolist() == [0, 0, 1, 1]
    assert np.array_equal(theirs.views["whole"][:2], rows[kept] + 100)
    assert len(copies.of_rows(np.array([], dtype=np.int64))) == 0


def test_the_first_copy_of_each_sample_is_found() -> None:
    rows, copies = made()
    some = Copies(copies.of[3:], copies.numbers[3:], {"whole": copies.views["whole"][3:]})
    assert stacked({"whole": rows}, some).first_copies().tolist() == [2, 3, 4, 0, 1]
    one = Copies(np.array([2]), np.array([0]), {"whole": rows[:1]})
    assert stacked({"whole": rows}, one).first_copies().tolist() == [-1, -1, 0, -1, -1]


class InAFile:
    """Rows that are read where they are asked for, indexed as an ``EmbeddingFile`` is."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows.shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: object) -> object:
        first = key[0] if isinstance(key, tuple) else key
        return self.rows[key] if isinstance(first, slice) else InAFile(self.rows[key])  # type: ignore[index]


def test_matrices_in_files_are_one_below_the_other_without_being_read() -> None:
    upper, lower = np.arange(12.0, dtype=np.float32).reshape(4, 3), np.arange(50, 65, dtype=np.float32).reshape(5, 3)
    whole = np.concatenate([upper, lower])
    both = below(InAFile(upper), lower)  # type: ignore[arg-type]
    assert both.shape == (9, 3)
    for part in (slice(0, 2), slice(2, 7), slice(5, 9), slice(3, 3)):
        assert np.array_equal(both[part], whole[part])
        assert np.array_equal(both[part, 1:2], whole[part, 1:2])
    order = np.array([8, 0, 3, 5])
    assert np.array_equal(both[order][:], whole[order])
    assert np.array_equal(both[order][1:3, :2], whole[order][1:3, :2])


def test_balanced_weights_count_copies_as_parts_of_their_samples() -> None:
    y = np.array([0, 0, 0, 1])
    copies = Copies(np.array([3, 3, 3]), np.array([0, 1, 2]), {"whole": np.zeros((3, 1), np.float32)})
    stack = stacked({"whole": np.zeros((4, 1), np.float32)}, copies)
    targets = y[stack.of]
    weights = sample_weights(targets, 2, "balanced", np.ones(7, bool), stack.weights)
    assert weights[targets == 0].sum() == pytest.approx(2.0)
    assert weights[targets == 1].sum() == pytest.approx(2.0)
