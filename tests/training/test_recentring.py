"""One offset of the logit: found again in made scores, whatever they are like, and honest about what it shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import beta

from detector.training.recentring import (
    FEWEST_PICTURES,
    Checked,
    Recentring,
    balanced_accuracy,
    check,
    find_offset,
    from_log_odds,
    log_odds,
    recentre,
)
from detector.training.thresholds import Thresholds

IDS = ("a", "b")
NAMES = ("real", "synthetic")


def made(rng: np.random.Generator, each: tuple[int, int], shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated scores of two overlapping labels, moved by ``shift``: their log odds, and the labels."""
    y = np.repeat([0, 1], each)
    # Of two normals with deviation s, 2m / s^2 times the score are its log odds.
    return (2 * rng.normal(size=len(y)) + np.where(y == 1, 2.0, -2.0)) + shift, y


def recentred(scores: np.ndarray, y: np.ndarray) -> Recentring:
    return recentre([scores[y == 0], scores[y == 1]], IDS, [str(n) for n in range(len(y))], 1.0)


def thresholds(above: dict[str, float], limit: float = 0.02) -> Thresholds:
    return Thresholds(limit, NAMES, above, {}, ())


@pytest.mark.parametrize("shift", [-6.0, -1.5, 0.0, 3.0])
def test_a_shift_is_found_again(shift: float) -> None:
    scores, y = made(np.random.default_rng(0), (400, 400), shift)
    assert find_offset(scores, y) == pytest.approx(-shift, abs=0.3)


def test_labels_count_the_same_however_many_pictures_each_has() -> None:
    rng = np.random.default_rng(1)
    scores, y = made(rng, (400, 20), -3.0)
    twice = np.concatenate([scores, scores[y == 0], scores[y == 0]])
    assert find_offset(twice, np.concatenate([y, np.zeros(800, int)])) == pytest.approx(
        find_offset(scores, y), abs=0.01
    )
    assert find_offset(scores, y) == pytest.approx(3.0, abs=0.6)


def test_ten_pictures_of_each_label_mend_a_shifted_detector_in_nearly_every_draw() -> None:
    rng = np.random.default_rng(2)
    better = 0
    for _ in range(40):
        given, y = made(rng, (10, 10), -4.0)
        fresh, truth = made(rng, (500, 500), -4.0)
        before, after = (float(((fresh + offset > 0) == truth).mean()) for offset in (0.0, find_offset(given, y)))
        assert before < 0.7
        better += after > 0.8
    assert better >= 38


def test_labels_told_apart_without_a_mistake_leave_one_offset_and_it_lies_between_them() -> None:
    scores = np.array([-9.0] * 10 + [-5.0] * 10)
    y = np.repeat([0, 1], 10)
    offset = find_offset(scores, y)
    assert 5.0 < offset < 9.0
    assert offset == find_offset(scores[::-1], y[::-1])


def test_scores_that_are_all_the_same_are_not_moved_beyond_the_border() -> None:
    """Ties: no offset tells them apart, and the one taken is that by which nobody is favoured."""
    scores = np.full(20, 3.0)
    found = recentred(scores, np.repeat([0, 1], 10))
    assert found.offset == pytest.approx(-3.0, abs=0.3)
    assert find_offset(np.zeros(20), np.repeat([0, 1], 10)) == pytest.approx(0.0, abs=1e-12)


def test_scores_that_are_all_wrong_are_not_turned_round() -> None:
    scores = np.array([6.0] * 10 + [-6.0] * 10)
    found = recentred(scores, np.repeat([0, 1], 10))
    assert found.offset == pytest.approx(0.0, abs=1e-9)
    # Without one of its own a picture's label has less weight, and it still is wrong.
    before, after = balanced_accuracy(check(found, NAMES, None))
    assert (before, after) == (0.0, 0.0)


@pytest.mark.parametrize("huge", [700.0, 1e6])
def test_extreme_scores_give_a_finite_offset_without_a_warning(huge: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        offset = find_offset(np.array([-huge] * 10 + [-huge + 1] * 9 + [huge]), np.repeat([0, 1], 10))
        assert np.isfinite(offset)
        shifted = from_log_odds(np.array([-huge, 0.0, huge]) + offset)
    assert np.isfinite(shifted).all()
    assert shifted.sum(axis=1) == pytest.approx(1.0)


def test_few_pictures_move_it_less_than_many() -> None:
    scores, y = np.array([-8.0, -7.0]), np.array([0, 1])
    many = find_offset(np.tile(scores, 100), np.tile(y, 100))
    assert 0 < find_offset(scores, y) < many == pytest.approx(7.5, abs=0.1)


def test_probabilities_and_log_odds_are_each_others_inverse_also_at_the_ends() -> None:
    scores = np.array([-600.0, -3.0, 0.0, 1e-9, 40.0, 600.0])
    assert log_odds(from_log_odds(scores)) == pytest.approx(scores, abs=1e-12)
    assert np.isfinite(log_odds(np.array([[1.0, 0.0], [0.0, 1.0]]))).all()


def test_a_row_is_shifted_by_itself() -> None:
    rng = np.random.default_rng(3)
    probabilities = from_log_odds(rng.normal(size=37) * 5)
    found = recentred(*made(rng, (10, 10), 2.0))
    together = found.shift(probabilities)
    assert all(
        (found.shift(row[None, :])[0] == moved).all() for row, moved in zip(probabilities, together, strict=True)
    )


def test_after_is_what_the_others_say_of_a_picture() -> None:
    """By an offset that it had a part in, a picture would always look a little better."""
    scores, y = made(np.random.default_rng(4), (10, 12), -3.0)
    found = recentred(scores, y)
    by_hand = [score + find_offset(np.delete(scores, n), np.delete(y, n)) for n, score in enumerate(scores)]
    assert [*found.after[0], *found.after[1]] == pytest.approx(by_hand)
    assert found.counts == (10, 12)
    assert all(abs(after - before - found.offset) > 0 for before, after in zip(scores, by_hand, strict=True))


def test_counts_before_and_after_are_those_of_a_count_by_hand() -> None:
    found = Recentring(3.0, IDS, ((-5.0, -4.0, 1.0), (-2.0, -1.0)), ((-2.0, -1.0, 4.0), (1.0, 2.5)), ("x",) * 5, 0.0)
    real, synthetic = check(found, NAMES, thresholds({"real": expit(3.0), "synthetic": expit(2.0)}))
    # More probable: before 2 of 3 real ones and none of 2; after the same, and both.
    assert (real.right, synthetic.right) == ((2, 2), (0, 2))
    # Verdicts need 3 towards real and 2 towards synthetic.
    assert (real.accused, synthetic.accused) == ((0, 1), (0, 0))
    assert balanced_accuracy((real, synthetic)) == (pytest.approx(1 / 3), pytest.approx(5 / 6))
    assert real.sentence == "Of your 3 real pictures 1 were called synthetic, now 1."
    assert synthetic.sentence == "Of your 2 synthetic pictures 2 were called real, now 0."
    stored = real.to_json()
    assert stored["before"]["falselyAccused"] == 0
    assert stored["after"]["falselyAccused"] == 1
    low, high = stored["after"]["interval"]
    assert low < 2 / 3 < high


def test_without_thresholds_nobody_is_accused_and_nothing_is_refuted() -> None:
    real, synthetic = check(recentred(*made(np.random.default_rng(5), (10, 10), 4.0)), NAMES, None)
    assert real.accused == synthetic.accused == (0, 0)
    assert not real.refuted


@pytest.mark.parametrize(("n", "accused"), [(10, 0), (12, 0), (12, 1), (60, 0), (10, 10)])
def test_the_limit_that_so_many_pictures_support_is_the_upper_clopper_pearson_bound(n: int, accused: int) -> None:
    found = Checked("real", "synthetic", n, (0, 0), (0, accused), 0.02)
    expected = 1.0 if accused == n else beta.ppf(0.95, accused + 1, n - accused)
    assert found.at_most == pytest.approx(expected)


def test_ten_pictures_without_an_accusation_promise_no_more_than_26_percent_and_say_so() -> None:
    found = Checked("real", "synthetic", FEWEST_PICTURES, (5, 10), (4, 0), 0.02)
    assert "0 of your 10 real pictures got the verdict synthetic." in found.support
    assert "at most 26 % of all such pictures" in found.support


@pytest.mark.parametrize(("accused", "limit", "refuted"), [(0, 0.001, False), (1, 0.02, False), (2, 0.02, True)])
def test_pictures_that_show_that_the_limit_is_not_kept_take_the_label_from_the_verdicts(
    accused: int, limit: float, refuted: bool
) -> None:
    found = Checked("real", "synthetic", 12, (12, 12), (0, accused), limit)
    assert found.refuted is refuted
    if refuted:
        assert beta.ppf(0.05, accused, 12 - accused + 1) > limit
        assert "2 of your 12 real pictures would still get the verdict synthetic." in found.support
        assert "more than a limit of 2 % allows" in found.support


def test_it_survives_a_trip_through_json() -> None:
    found = recentred(*made(np.random.default_rng(6), (10, 11), 1.0))
    assert Recentring.from_json(json.loads(json.dumps(found.to_json()))) == found
