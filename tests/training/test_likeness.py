"""What is usual among samples, and how far is too far: arithmetic on made embeddings."""

from __future__ import annotations

import time

import numpy as np
import pytest

from detector.errors import ModelFileInvalid
from detector.training.likeness import FALSE_ALARMS, FEWEST_SAMPLES, LikenessModel, fit_likeness, too_few_sentence

BLOCKS = ((0, 20), (20, 50), (50, 80), (80, 100))


def rows(n: int, seed: int = 0, d: int = 120) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.1, 3, d)
    return (rng.normal(size=(n, d)) * scale + 5).astype(np.float32)


def fitted(whole: np.ndarray, groups: list[str] | None = None) -> LikenessModel:
    found = fit_likeness(whole, groups or [str(row) for row in range(len(whole))], BLOCKS)
    assert found is not None
    return found


def usual(n: int, seed: int) -> np.ndarray:
    """More of the same kind as ``rows`` with seed 0."""
    return rows(4000)[1000:][np.random.default_rng(seed).permutation(3000)[:n]]


@pytest.mark.parametrize("n", [60, 200, 1000])
def test_about_one_in_twenty_pictures_like_the_samples_is_flagged(n: int) -> None:
    alarms = []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(4000)
        everything = rows(4000)
        known = fitted(everything[order[:n]])
        alarms.append(known.flagged(known.distances(everything[order[n:]])).mean())
    assert 0.3 * FALSE_ALARMS < np.mean(alarms) < 1.3 * FALSE_ALARMS


def test_what_is_far_off_in_one_block_alone_is_flagged() -> None:
    """One layer of a network is enough: a chart differs from photographs in the fourth only."""
    known = fitted(rows(400))
    strange = usual(50, 3)
    strange[:, 20:50] += 12
    assert known.flagged(known.distances(strange)).all()


def test_columns_outside_all_blocks_count_for_nothing() -> None:
    known = fitted(rows(400))
    given = usual(50, 3)
    before = known.distances(given)
    given[:, 100:] = 1e6
    np.testing.assert_array_equal(known.distances(given), before)


def test_a_picture_has_the_same_distance_alone_and_among_others() -> None:
    known = fitted(rows(400))
    together = known.distances(usual(40, 3))
    alone = [known.distances(row[None])[0] for row in usual(40, 3)]
    assert together.tolist() == alone


def test_a_dead_channel_that_comes_to_life_does_not_decide_alone() -> None:
    whole = rows(400)
    whole[:, 7] = 0.0
    known = fitted(whole)
    given = usual(200, 5)
    given[:, 7] = 0.2
    assert known.flagged(known.distances(given)).mean() < 0.15


def test_near_duplicates_do_not_vouch_for_one_another() -> None:
    """The kind: copies of one picture lie on both sides of a fold, and everything else looks far off."""
    base = rows(100)
    copies = np.repeat(base, 6, axis=0)
    apart = fitted(copies, [str(row // 6) for row in range(600)])
    together = fitted(copies)
    assert apart.threshold > together.threshold
    assert apart.threshold == pytest.approx(fitted(base).threshold, rel=0.3)


@pytest.mark.parametrize(("n", "groups"), [(FEWEST_SAMPLES - 1, FEWEST_SAMPLES - 1), (300, FEWEST_SAMPLES - 1)])
def test_too_few_different_samples_say_nothing_of_what_is_usual(n: int, groups: int) -> None:
    assert fit_likeness(rows(n), [str(row % groups) for row in range(n)], BLOCKS) is None
    assert f"takes {FEWEST_SAMPLES} different labelled samples" in too_few_sentence()


def test_the_share_as_far_goes_down_with_the_distance() -> None:
    known = fitted(rows(400))
    assert known.share_as_far(-100) == 1
    assert known.share_as_far(known.threshold + 1e-9) <= FALSE_ALARMS
    assert known.share_as_far(100) == 0


def test_the_file_gives_back_the_same_answers_and_is_small() -> None:
    known = fitted(rows(400))
    data = known.to_bytes()
    again = LikenessModel.from_bytes(data)
    given = usual(40, 3)
    np.testing.assert_array_equal(again.distances(given), known.distances(given))
    assert (again.threshold, again.count) == (known.threshold, known.count)
    assert len(data) < 100_000


def _spoilt(**changes: object) -> bytes:
    known = fitted(rows(80))
    values = {name: getattr(known, name) for name in LikenessModel.__dataclass_fields__} | changes
    return LikenessModel(**values).to_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"blocks": np.array([[0, 500]])},
        {"blocks": np.array([[5, 5]] * 4)},
        {"deviation": np.zeros(120)},
        {"block_mean": np.zeros(2)},
        {"held_out": np.zeros(0)},
        {"threshold": float("nan")},
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ModelFileInvalid):
        LikenessModel.from_bytes(_spoilt(**changes))


@pytest.mark.parametrize("data", [b"", b"\xff" * 5000, _spoilt()[:200]])
def test_a_damaged_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelFileInvalid):
        LikenessModel.from_bytes(data)


def test_it_costs_little_beside_a_training() -> None:
    """A ratio of two things in one run: at most as long as putting the columns in order twice."""
    whole = rows(2000, d=2912)
    start = time.perf_counter()
    fitted(whole)
    taken = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(2):
        np.sort(whole, axis=0)
    assert taken < time.perf_counter() - start
