"""Small computations on a single core.

Threads that share a short product wait for each other, spinning, much longer than they compute as soon as anything else
runs on the machine (measured: on 250 images 0.1 s became 2 to 7 s, on 2,000 images 3 s became 20 to 45 s). How many
threads torch takes is a property of the calling thread; but ``torch.set_num_threads`` also changes what threads started
later will take. So there is one lasting thread for small problems, and that second effect is undone before anything
runs on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")

_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None


def on_one_core(compute: Callable[[], Result]) -> Result:
    """Run ``compute`` on the thread for small problems, wait for it, and return its result or raise its error."""
    global _executor
    with _lock:
        if _executor is None:
            executor = ThreadPoolExecutor(1, thread_name_prefix="one-core")
            everywhere_else = torch.get_num_threads()
            executor.submit(_take_one_core).result()
            torch.set_num_threads(everywhere_else)
            _executor = executor
    return _executor.submit(compute).result()


def _take_one_core() -> None:
    # The first question makes torch set the thread up; it would undo the limit if it came later.
    torch.get_num_threads()
    torch.set_num_threads(1)
