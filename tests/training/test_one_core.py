from __future__ import annotations

import threading

import pytest
import torch

from detector.training.one_core import on_one_core


def test_only_the_small_thread_is_limited():
    before = torch.get_num_threads()
    assert on_one_core(torch.get_num_threads) == 1
    assert torch.get_num_threads() == before
    started_later: list[int] = []
    thread = threading.Thread(target=lambda: started_later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert started_later == [before]


def test_errors_come_back():
    def fail() -> None:
        raise KeyError("label")

    with pytest.raises(KeyError):
        on_one_core(fail)
