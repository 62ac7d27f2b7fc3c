"""Small computations on a single core each, and large products in parts that are.

Threads that share a short product wait for each other, spinning, much longer than they compute as soon as anything else
runs on the machine (measured: on 250 images 0.1 s became 2 to 7 s, on 2,000 images 3 s became 20 to 45 s). So there are
lasting threads for small problems, one a core. Independent problems run side by side on them, which is as fast as
sharing each, and steady.

What they find does not depend on how many cores there are, and that is the second reason: threads that share a product
also share its sums, and in another number of parts these are others in the last digit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

import torch

from detector.system.single_threaded import stay_single_threaded

Result = TypeVar("Result")

#: The length of one part of a product, and how many parts a long one has.
_LEAST_OF_A_PRODUCT, _PARTS_OF_A_PRODUCT = 256, 16
#: Numbers in a result up to which parts of its sums are held side by side.
_LARGEST_SUMMED = 250_000

_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None
_here = threading.local()


def run_single_threaded(compute: Callable[[], Result]) -> Result:
    """Run ``compute`` on a thread for small problems, wait for it, and return its result or raise its error."""
    return run_each_single_threaded([compute])[0]


def run_each_single_threaded(computes: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run them side by side, as many as there are cores; the results in their order, or the first one's error."""
    # A problem that is part of one on such a thread stays there: waiting for another would be waiting for oneself.
    if getattr(_here, "is_single_thread", False):
        return [compute() for compute in computes]
    running = [_threads().submit(compute) for compute in computes]
    wait(running)
    return [each.result() for each in running]


def product(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """``first @ second`` (m, k) @ (k, n): the same to the last digit however many cores there are.

    It is cut along its longest side (of a large result along its longer one, since parts of sums are as large as it)
    into parts that follow from its shape alone; each is one core's.
    """
    (m, k), n = first.shape, second.shape[1]
    longest = max(m, n) if m * n > _LARGEST_SUMMED else max(m, k, n)
    size = max(_LEAST_OF_A_PRODUCT, -(-longest // _PARTS_OF_A_PRODUCT))
    cuts = [slice(start, start + size) for start in range(0, longest, size)]
    if n == longest:
        return torch.cat(run_each_single_threaded([partial(torch.matmul, first, second[:, cut]) for cut in cuts]), 1)
    if m == longest:
        return torch.cat(run_each_single_threaded([partial(torch.matmul, first[cut], second) for cut in cuts]))
    parts = run_each_single_threaded([partial(torch.matmul, first[:, cut], second[cut]) for cut in cuts])
    for part in parts[1:]:
        parts[0] += part
    return parts[0]


def _threads() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            cores = torch.get_num_threads()
            _executor = ThreadPoolExecutor(cores, "one-core", initializer=_start)
    return _executor


def _start() -> None:
    stay_single_threaded()
    _here.is_single_thread = True
