from __future__ import annotations

import threading

import pytest
import torch

from detector.training.single_thread import run_each_single_threaded, run_single_threaded


def test_only_the_small_thread_is_limited():
    before = torch.get_num_threads()
    assert run_single_threaded(torch.get_num_threads) == 1
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
        run_single_threaded(fail)


def test_several_run_at_once_and_come_back_in_their_order():
    cores = torch.get_num_threads()
    together = threading.Barrier(cores)
    assert run_each_single_threaded([lambda place=place: (together.wait(10), place)[1] for place in range(cores)]) == [
        *range(cores)
    ]


def test_a_part_of_a_problem_stays_on_its_core():
    def part() -> str:
        return threading.current_thread().name

    names = run_each_single_threaded(
        [lambda: {part(), run_single_threaded(part), *run_each_single_threaded([part, part])}] * 8
    )
    assert all(len(found) == 1 for found in names)
