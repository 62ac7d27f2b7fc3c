"""Degraded copies: the same for the same picture, within the strengths that are named, and never those of the audit."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from detector.evaluation import stress
from detector.imaging.degraded_copies import JPEG, STRENGTHS, Change, changes_of, degraded_copy, noisy

HASHES = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(300)]


def picture(width: int = 90, height: int = 60) -> Image.Image:
    rng = np.random.default_rng(5)
    return Image.fromarray(rng.integers(30, 226, (8, 12, 3), dtype=np.uint8)).resize((width, height))


def test_a_picture_gets_the_same_copies_every_time_and_each_number_another_one() -> None:
    first = [degraded_copy(picture(), HASHES[0], number) for number in range(4)]
    assert first == [degraded_copy(picture(), HASHES[0], number) for number in range(4)]
    assert len(set(first)) == 4
    assert degraded_copy(picture(), HASHES[1], 0) != first[0]


def test_every_strength_is_within_its_range_and_every_kind_comes_up() -> None:
    changes = [change for image in HASHES for number in range(4) for change in changes_of(image, number)]
    assert {change.kind for change in changes} == set(STRENGTHS)
    for change in changes:
        low, high = STRENGTHS[change.kind]
        assert low <= change.strength <= high


@pytest.mark.slow
def test_a_chain_has_two_to_four_different_changes_and_ends_with_a_jpeg() -> None:
    chains = [changes_of(image, 1) for image in HASHES]
    assert {len(chain) for chain in chains} == {2, 3, 4}
    for chain in chains:
        kinds = [change.kind for change in chain]
        assert kinds[-1] == JPEG
        assert len(set(kinds)) == len(kinds)
    assert Image.open(io.BytesIO(degraded_copy(picture(), HASHES[3], 1))).format == "JPEG"


@pytest.mark.parametrize(
    ("kind", "tested"),
    [
        ("jpeg", (40, 95)),
        ("blur", (stress.BLUR,)),
        ("scale", (stress.SCALE,)),
        ("crop", (stress.CROP,)),
        ("noise", (stress.NOISE,)),
        ("webp", (60,)),
    ],
)
def test_no_copy_is_as_strong_as_what_the_audit_tests(kind: str, tested: tuple[float, ...]) -> None:
    low, high = STRENGTHS[kind]
    assert all(not low <= strength <= high for strength in tested)


def test_sizes_are_those_that_a_change_announces() -> None:
    for kind in ("scale", "crop", "blur", "noise", "jpeg", "webp", "colour"):
        change = Change(kind, STRENGTHS[kind][1], 1)
        assert change.apply(picture()).size == change.size(90, 60)


def test_a_picture_of_one_pixel_has_copies_too() -> None:
    dot = Image.new("RGB", (1, 1), (200, 10, 10))
    for image in HASHES[:40]:
        for number in range(4):
            with Image.open(io.BytesIO(degraded_copy(dot, image, number))) as copy:
                assert copy.convert("RGB").size == (1, 1)


def test_noise_has_the_deviation_that_it_is_said_to_have() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    difference = np.asarray(noisy(grey, 4.0, 7), dtype=float) - 128
    assert difference.std() == pytest.approx(4.0, rel=0.05)
    assert abs(difference.mean()) < 0.1
