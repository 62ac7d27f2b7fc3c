from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import formatting

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_percentage_has_a_space_before_its_sign() -> None:
    assert formatting.percent(0.948) == "94.8 %"
    assert formatting.percent(0.5, 0) == "50 %"
    assert formatting.percent(1.0) == "100.0 %"
    assert formatting.percent(0.0, 0) == "0 %"


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True), st.integers(0, 2))
def test_only_certainty_is_written_as_certain(fraction: float, digits: int) -> None:
    number = float(formatting.percent(fraction, digits).removesuffix(" %"))
    assert 0 < number < 100


def test_an_interval_names_its_unit_once() -> None:
    assert formatting.interval((0.932, 0.960)) == "93.2 to 96.0 %"


def test_counts_have_thousands_separators_and_a_fitting_noun() -> None:
    assert formatting.count(2000) == "2,000"
    assert formatting.count(1, "sample") == "1 sample"
    assert formatting.count(0, "sample") == "0 samples"
    assert formatting.count(1200, "copy", "copies") == "1,200 copies"
    assert formatting.share(948, 1000) == "948 of 1,000"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3, "0.00 s"),
        (0.213, "0.21 s"),
        (0.997, "1 s"),
        (2.44, "2.4 s"),
        (9, "9 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (119, "2 min"),
        (3570, "1 h"),
        (3900, "1 h 5 min"),
    ],
)
def test_durations_are_as_precise_as_they_are_useful(seconds: float, expected: str) -> None:
    assert formatting.duration(seconds) == expected


def test_time_left_is_in_whole_seconds_and_never_nothing() -> None:
    assert formatting.time_left(9.3) == "9 s left"
    assert formatting.time_left(121.0) == "2 min left"
    assert formatting.time_left(0.2) == "1 s left"
    assert formatting.time_left(None) == ""


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=44), "just now"),
        (timedelta(seconds=50), "1 minute ago"),
        (timedelta(minutes=3), "3 minutes ago"),
        (timedelta(minutes=59, seconds=40), "1 hour ago"),
        (timedelta(hours=5), "5 hours ago"),
        (timedelta(days=1, hours=3), "yesterday"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(days=255), "12 Mar 2026"),
    ],
)
def test_the_past_is_told_as_people_tell_it(passed: timedelta, expected: str) -> None:
    assert formatting.ago(NOON - passed, NOON) == expected


def test_a_moment_without_a_zone_is_utc_and_zones_are_compared() -> None:
    naive = datetime(2026, 11, 22, 11, 57)
    elsewhere = datetime(2026, 11, 22, 12, 57, tzinfo=timezone(timedelta(hours=1)))
    assert formatting.ago(naive, NOON) == formatting.ago(elsewhere, NOON) == "3 minutes ago"


def test_sizes_speeds_and_scores() -> None:
    assert formatting.file_size(1) == "1 byte"
    assert formatting.file_size(18_200_000) == "18 MB"
    assert formatting.file_size(1_530_000) == "1.5 MB"
    assert formatting.file_size(605_000_000) == "0.6 GB"
    assert formatting.file_size(1_200) == "1 kB"
    assert formatting.part_of_size(212_000_000, 605_000_000) == "212 of 605 MB"
    assert formatting.part_of_size(400_000, 7_900_000) == "0.4 of 7.9 MB"
    assert formatting.part_of_size(1_204_000_000, 2_685_000_000) == "1.20 of 2.69 GB"
    assert formatting.part_of_size(31_900, 212_000) == "31 of 212 kB"
    assert formatting.part_of_size(7, 40) == "0 of 1 kB"
    assert formatting.part_of_size(212_000_000, 0) == "212 MB"
    assert formatting.rate(65.2) == "65 images/s"
    assert formatting.rate(1.34) == "1.3 images/s"
    assert formatting.decimal(0.14159) == "0.142"


def test_a_moment_is_a_day_and_a_time_in_utc():
    berlin = timezone(timedelta(hours=1))
    assert formatting.moment(datetime(2026, 3, 1, 0, 5, tzinfo=berlin)) == "28 Feb 2026, 23:05 UTC"


@pytest.mark.parametrize(
    ("fraction", "n", "rate", "of"),
    [
        (7 / 9, 9, "7 of 9", "7 of 9 images"),
        (1.0, 1, "1 of 1", "1 of 1 image"),
        (0.0, 3, "0 of 3", "0 of 3 images"),
        (28 / 29, 29, "28 of 29", "28 of 29 images"),
        (0.9, 30, "90.0 %", "90.0 % of 30 images"),
        (0.948, 2000, "94.8 %", "94.8 % of 2,000 images"),
    ],
)
def test_no_rate_is_quoted_on_fewer_than_thirty_images(fraction: float, n: int, rate: str, of: str) -> None:
    """Kind: a rate on a handful of images. "100.0 %" of 3 promises what nobody knows."""
    assert formatting.rate_of(fraction, n) == rate
    assert formatting.rate_of_images(fraction, n, "image") == of
    assert formatting.interval_of((0.5, 0.9), n, " (", ")") == ("" if n < 30 else " (50.0 to 90.0 %)")


def test_a_limit_has_the_digits_that_somebody_chose() -> None:
    assert [formatting.limit(share) for share in (0.001, 0.005, 0.02, 0.2, 0.125)] == [
        "0.1 %",
        "0.5 %",
        "2 %",
        "20 %",
        "12.5 %",
    ]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], ""),
        (["real"], "real"),
        (["real", "synthetic"], "real and synthetic"),
        (["real", "glide", "biggan", "midjourney"], "real, glide, biggan and midjourney"),
    ],
)
def test_words_are_listed_as_one_says_them(words: list[str], shown: str) -> None:
    assert formatting.listed(words) == shown
