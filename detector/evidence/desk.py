"""Pictures that somebody looks at now: what was found out of them, and what is still being found out behind the page.

Everything is kept in memory only, of the last few pictures, and never the file itself: reloading a page or moving the
limit costs no second look, and nothing of it outlives the server.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from detector.progress import Report

if TYPE_CHECKING:
    from detector.evidence.explain import Seen

T = TypeVar("T")

#: Pictures whose findings are remembered.
MOST_CASES = 32


class InBackground(Generic[T]):
    """Something that is found out while the page goes on.

    Attributes
    ----------
    words : str
        How far it is, as people say it; empty before it has begun.
    share : float, 0..1
    """

    def __init__(self, pool: ThreadPoolExecutor, work: Callable[[Report], T]) -> None:
        self.words, self.share = "", 0.0

        def report(_phase: str, done: int, total: int, message: str, _rate: float | None) -> None:
            self.words, self.share = message, done / max(total, 1)

        self._future: Future[T] = pool.submit(work, report)

    @property
    def running(self) -> bool:
        return not self._future.done()

    @property
    def result(self) -> T | None:
        """What was found; None while it runs, and where it failed."""
        if self.running or self._future.cancelled() or self._future.exception() is not None:
            return None
        return self._future.result()

    @property
    def problem(self) -> BaseException | None:
        """Why it failed; None where it did not."""
        return None if self.running or self._future.cancelled() else self._future.exception()


@dataclass(eq=False)
class Case:
    """One picture under one model.

    Attributes
    ----------
    seen : Seen
    preview : bytes
        The upright picture at the size of a page, as JPEG.
    finding : dict of str to InBackground
        By what is found out.
    """

    seen: Seen
    preview: bytes
    finding: dict[str, InBackground[object]] = field(default_factory=dict)


class Desk:
    """The cases of a server. Safe to use from many threads."""

    def __init__(self, most: int = MOST_CASES) -> None:
        self._most = most
        self._cases: OrderedDict[tuple[str, ...], Case] = OrderedDict()
        self._lock = threading.Lock()
        # One at a time: the network uses all cores for each.
        self._pool = ThreadPoolExecutor(1, "evidence")

    def find(self, key: tuple[str, ...]) -> Case | None:
        """The case of a picture under a model, or None."""
        with self._lock:
            if key in self._cases:
                self._cases.move_to_end(key)
            return self._cases.get(key)

    def put(self, key: tuple[str, ...], case: Case) -> Case:
        """Remember a case; the one that nobody has asked for longest is forgotten."""
        with self._lock:
            self._cases[key] = case
            self._cases.move_to_end(key)
            while len(self._cases) > self._most:
                self._cases.popitem(last=False)
        return case

    @property
    def busy(self) -> bool:
        """Whether something is being found out."""
        with self._lock:
            return any(found.running for case in self._cases.values() for found in case.finding.values())

    def find_out(self, case: Case, what: str, work: Callable[[Report], object]) -> InBackground[object]:
        """Have something found out of a case, once."""
        with self._lock:
            if what not in case.finding:
                case.finding[what] = InBackground(self._pool, work)
            return case.finding[what]
