"""How often progress is said, and how fast it says the work goes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from detector.errors import JobCancelled
from detector.progress import Pace, says_amounts, silent

Heard = list[tuple[str, int, int, str, float | None]]


def _listener(every: float = 0.2) -> tuple[Heard, Pace]:
    heard: Heard = []
    return heard, Pace(lambda *said: heard.append(said), "embed", 100, "Looking", every=every)


def test_the_start_is_said_at_once_without_a_rate() -> None:
    heard, _ = _listener()
    assert heard == [("embed", 0, 100, "Looking", None)]


def test_reports_in_quick_succession_are_left_out_but_never_the_last() -> None:
    # However long the machine lets this wait in between.
    heard, pace = _listener(every=1e9)
    for done in range(1, 101):
        pace.at(done)
    assert [said[1] for said in heard] == [0, 1, 100]


def test_a_pause_lets_the_next_report_through_with_items_a_second() -> None:
    heard, pace = _listener()
    pace.at(1)
    time.sleep(0.25)
    pace.at(50)
    _, done, _, _, rate = heard[-1]
    assert done == 50
    assert rate is not None
    assert 0 < rate <= 200


def test_nothing_done_has_no_rate() -> None:
    heard, pace = _listener()
    pace.at(0)
    assert heard[-1][4] is None


def test_what_the_listener_raises_stops_the_work() -> None:
    def stop(_phase: str, done: int, _total: int, _message: str, _rate: float | None) -> None:
        if done:
            raise JobCancelled("The job was cancelled.")

    pace = Pace(stop, "embed", 10, "Looking")
    with pytest.raises(JobCancelled):
        pace.at(1)


def test_whatever_is_said_may_be_said_to_nobody() -> None:
    heard: Heard = []

    def both(*said: Any) -> None:
        silent(*said)
        heard.append(said)

    pace = Pace(both, "embed", 10, "Looking", every=0.0)
    pace.at(0)
    pace.at(10)
    assert [done for _, done, _, _, _ in heard] == [0, 0, 10]


def test_a_download_has_its_amounts_in_its_message_and_other_work_has_not() -> None:
    assert says_amounts("Downloading the CLIP weights: 212 of 605 MB, 2 min left")
    assert not says_amounts("Looking at 2,000 images")
