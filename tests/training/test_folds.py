from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.training.folds import make_folds
from tests.training.factories import key

# (group, label) of every sample: few groups, so that mixed ones and shortages are common.
SAMPLES = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=80)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(samples=SAMPLES, max_folds=st.integers(2, 6), seed=st.integers(0, 3))
def test_folds_keep_groups_whole_and_give_every_label_to_every_fold(samples, max_folds, seed):
    groups, labels = [f"g{g}" for g, _ in samples], np.array([label for _, label in samples])
    folds = make_folds(labels, groups, max_folds, seed)
    groups_of_label = {label: {g for g, at in zip(groups, labels, strict=True) if at == label} for label in set(labels)}
    if folds is None:
        # Groups of one label each could always be dealt out: only scarcity or mixture may end without folds.
        mixed = sum(len(found) for found in groups_of_label.values()) > len(set(groups))
        assert mixed or min(len(found) for found in groups_of_label.values()) < 2
        return
    count = folds.max() + 1
    assert 2 <= count <= min(max_folds, min(len(found) for found in groups_of_label.values()))
    for name in set(groups):
        assert len({int(f) for f, g in zip(folds, groups, strict=True) if g == name}) == 1
    for fold in range(count):
        assert set(labels[folds == fold]) == set(labels)
        assert set(labels[folds != fold]) == set(labels)


@settings(max_examples=50, deadline=None)
@given(samples=SAMPLES, order=st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(samples, order):
    groups, labels = [f"g{g}" for g, _ in samples], np.array([label for _, label in samples])
    shuffled = list(range(len(samples)))
    order.shuffle(shuffled)
    folds = make_folds(labels, groups)
    again = make_folds(labels[shuffled], [groups[i] for i in shuffled])
    assert (folds is None) == (again is None)
    if folds is not None:
        assert np.array_equal(folds[shuffled], again)


@pytest.mark.parametrize("counts", [(6, 9), (100, 101), (1000, 37), (13, 14, 15)])
def test_single_samples_are_stratified_to_within_one(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    folds = make_folds(labels, [key(i) for i in range(len(labels))])
    per_fold = np.array([np.bincount(folds[labels == label], minlength=5) for label in range(len(counts))])
    assert (np.ptp(per_fold, axis=1) <= 1).all()


@settings(max_examples=25, deadline=None)
@given(sample=st.integers(0, 599), seed=st.integers(0, 100))
def test_relabelling_one_sample_moves_few_others(sample, seed):
    labels = np.arange(600) % 2
    groups = [key(i) for i in range(600)]
    relabelled = labels.copy()
    relabelled[sample] = 1 - labels[sample]
    before, after = make_folds(labels, groups, seed=seed), make_folds(relabelled, groups, seed=seed)
    moved = int((before != after).sum())
    assert moved <= 40


def test_another_seed_deals_differently():
    labels, groups = np.arange(100) % 2, [key(i) for i in range(100)]
    assert not np.array_equal(make_folds(labels, groups, seed=0), make_folds(labels, groups, seed=1))


def test_patches_of_few_photographs_still_make_folds():
    labels = np.repeat([0, 1], 200)
    groups = [f"photo {i // 100}" for i in range(400)]
    folds = make_folds(labels, groups)
    assert folds.max() == 1
    assert np.bincount(folds).tolist() == [200, 200]


def test_near_duplicates_with_different_labels_share_a_fold():
    labels = np.array([0, 1] * 10)
    groups = [f"pair {i // 2}" for i in range(20)]
    folds = make_folds(labels, groups)
    assert folds.max() == 4
    assert (folds[::2] == folds[1::2]).all()


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        ([0, 0, 1, 1], ["a", "a", "b", "c"]),  # one label is a single group
        ([0, 1, 1], ["a", "b", "c"]),
        ([], []),
    ],
)
def test_without_two_valid_folds_there_are_none(labels, groups):
    assert make_folds(np.array(labels, dtype=np.int64), groups) is None
