"""How long work says how far it is, whoever listens: a job's row, a progress bar, or nobody."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

#: Called with (phase, done, total, message, items a second or None). May raise JobCancelled to stop the work.
Report = Callable[[str, int, int, str, float | None], None]

#: How the message of every download begins; see `says_amounts`.
DOWNLOADING = "Downloading "


def silent(_phase: str, _done: int, _total: int, _message: str, _rate: float | None) -> None:
    """A Report to nobody."""


def says_amounts(message: str) -> bool:
    """Whether a message has its own words for how much is done, as that of a download: bytes are no items to count."""
    return message.startswith(DOWNLOADING)


class Pace:
    """Items a second since the start of a phase, and a brake on how often it is said.

    Parameters
    ----------
    report : Report
    phase, message : str
    total : int
        Items in all.
    every : float
        Shortest time between two reports, in seconds: each one is a write to the database.
    """

    def __init__(self, report: Report, phase: str, total: int, message: str, every: float = 0.5) -> None:
        self._report, self._phase, self._total, self._message, self._every = report, phase, total, message, every
        self._start = time.monotonic()
        # Not 0: that is when the machine was started, which can be less than this ago.
        self._last = -math.inf
        report(phase, 0, total, message, None)

    def at(self, done: int) -> None:
        """Say that ``done`` items are done."""
        moment = time.monotonic()
        if done < self._total and moment - self._last < self._every:
            return
        self._last = moment
        elapsed = moment - self._start
        rate = done / elapsed if done and elapsed > 0 else None
        self._report(self._phase, done, self._total, self._message, rate)
