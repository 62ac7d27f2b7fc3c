from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

from detector.training.single_thread import product, run_each_single_threaded, run_single_threaded
from tests.command_line import CHECKOUT


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


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(1, 1, 1), (3, 700, 5), (1, 20_000, 30), (20, 90, 5000), (5000, 70, 20), (600, 3000, 500), (2, 0, 3)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_in_parts_is_the_product(m: int, k: int, n: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(m + k + n)
    first = torch.randn((m, k), generator=generator, dtype=torch.float64)
    second = torch.randn((n, k), generator=generator, dtype=torch.float64).T
    found = product(first.to(dtype), second.to(dtype))
    assert found.shape == (m, n)
    assert found.dtype == dtype
    scale = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(found.double(), first @ second, rtol=0.0, atol=scale * (10.0 + k))


@pytest.mark.long
def test_numbers_do_not_depend_on_the_number_of_cores() -> None:
    """Nor do threads that begin while those for small problems are started keep one core for good."""
    said = {}
    for cores in ("1", "2", "3"):
        ran = subprocess.run(
            [sys.executable, "-m", "tests.training.every_number"],
            cwd=CHECKOUT,
            env=os.environ | {"OMP_NUM_THREADS": cores},
            capture_output=True,
            text=True,
            check=True,
        )
        taken, *numbers = ran.stdout.splitlines()
        assert len(taken.split()) == 2, f"some threads took another number of cores: {taken}"
        assert len(numbers) == 7
        said[taken] = numbers
    assert len(said) >= min(2, os.cpu_count() or 1)
    assert len({tuple(numbers) for numbers in said.values()}) == 1, said
