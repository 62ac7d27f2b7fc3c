from __future__ import annotations

import gc

import pytest

from detector.system.memory import seldom_collected


def test_the_collector_is_as_before_when_the_last_of_several_has_ended() -> None:
    before = gc.get_threshold()
    first, second = seldom_collected(), seldom_collected()
    with first:
        assert gc.get_threshold()[0] > before[0]
        second.__enter__()
    assert gc.get_threshold()[0] > before[0]
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before


def test_work_that_fails_gives_it_back_too() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="Nothing"), seldom_collected():
        raise ValueError("Nothing to do.")
    assert gc.get_threshold() == before
