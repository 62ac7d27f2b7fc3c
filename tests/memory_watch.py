"""How much memory another process takes while something is done."""

from __future__ import annotations

import threading

import psutil


class MemoryWatch:
    """The most memory that a process takes while this is entered, in megabytes above what it had."""

    def __init__(self, pid: int, seconds_between_looks: float = 0.01) -> None:
        self._process = psutil.Process(pid)
        self._pause = seconds_between_looks

    def __enter__(self) -> MemoryWatch:
        self.before = self.most = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(self._pause):
            self.most = max(self.most, self._process.memory_info().rss)

    @property
    def grown(self) -> float:
        return (self.most - self.before) / 1e6

    @property
    def kept(self) -> float:
        return (self._process.memory_info().rss - self.before) / 1e6
