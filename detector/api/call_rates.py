"""How many calls a minute a key makes: counted in memory, by each server for itself.

Two servers over one database answer up to twice as many. Counting in the database would make each call a write.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from math import ceil

from detector.errors import TooManyCalls

WINDOW_SECONDS = 60.0
#: Keys remembered; beyond it the one heard of longest ago is forgotten.
REMEMBERED_KEYS = 1_000


class CallRates:
    """The calls of the last minute by key. Safe to use from many threads.

    Parameters
    ----------
    clock : callable, optional
        Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, key_id: str, per_minute: int | None) -> None:
        """Count a call; with None nothing is counted. Raises TooManyCalls, and then it is not counted."""
        if per_minute is None:
            return
        with self._lock:
            now = self._clock()
            calls = self._calls.setdefault(key_id, deque())
            self._calls.move_to_end(key_id)
            while len(self._calls) > REMEMBERED_KEYS:
                self._calls.popitem(last=False)
            while calls and calls[0] <= now - WINDOW_SECONDS:
                calls.popleft()
            if len(calls) >= per_minute:
                raise TooManyCalls(per_minute, max(1, ceil(calls[0] + WINDOW_SECONDS - now)))
            calls.append(now)
