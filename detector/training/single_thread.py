"""Small computations on a single core each.

Threads that share a short product wait for each other, spinning, much longer than they compute as soon as anything else
runs on the machine (measured: on 250 images 0.1 s became 2 to 7 s, on 2,000 images 3 s became 20 to 45 s). How many
threads torch takes is a property of the calling thread; but ``torch.set_num_threads`` also changes what threads started
later will take. So there are lasting threads for small problems, one a core, and that second effect is undone before
anything runs on them. Independent problems run side by side on them, which is as fast as sharing each, and steady.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Result = TypeVar("Result")

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


def _threads() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            cores = torch.get_num_threads()
            executor = ThreadPoolExecutor(cores, thread_name_prefix="one-core")
            started = threading.Barrier(cores)
            wait([executor.submit(_become_single_thread, started) for _ in range(cores)])
            torch.set_num_threads(cores)
            _executor = executor
    return _executor


def _become_single_thread(started: threading.Barrier) -> None:
    # The first question makes torch set the thread up; it would undo the limit if it came later.
    torch.get_num_threads()
    torch.set_num_threads(1)
    _here.is_single_thread = True
    # Nobody is done before all have begun: otherwise one thread would take the places of all.
    started.wait()
