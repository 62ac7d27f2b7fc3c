"""Pictures that somebody looks at now: what was found out of them, and what is still being found out behind the page.

Everything is kept in memory only, of the last few pictures, and never the file itself: reloading a page or moving the
limit costs no second look, and nothing of it outlives the server.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from detector.errors import JobCancelled
from detector.progress import Report

if TYPE_CHECKING:
    from detector.evidence.explain import Seen

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Pictures whose findings are remembered.
MOST_CASES = 32
#: How long the end of the server waits for the network to come back from where it is, in seconds.
_LAST_WAIT = 5.0


class InBackground(Generic[T]):
    """Something that is found out while the page goes on.

    Attributes
    ----------
    words : str
        How far it is, as people say it; empty before it has begun.
    share : float, 0..1
    cancelled : bool
        Whether it was given up, since nobody asks for it any more.
    """

    def __init__(self, work: Callable[[Report], T]) -> None:
        self.words, self.share, self.cancelled = "", 0.0, False
        self._work: Callable[[Report], T] | None = work
        self._result: T | None = None
        self._problem: BaseException | None = None
        self._unwanted = False
        self._done = threading.Event()

    @property
    def running(self) -> bool:
        return not self._done.is_set()

    @property
    def result(self) -> T | None:
        """What was found; None while it runs, and where it failed."""
        return self._result if self._done.is_set() else None

    @property
    def problem(self) -> BaseException | None:
        """Why it failed; None where it did not."""
        return self._problem if self._done.is_set() else None

    def cancel(self) -> None:
        """Let it not begin, or stop at its next report."""
        self._unwanted = True

    def work_off(self) -> None:
        """Find it out, here and now. Raises nothing: why it failed is `problem`, and a line in the log."""
        work, self._work = self._work, None
        try:
            self._report("", 0, 1, "", None)
            if work is not None:
                self._result = work(self._report)
        except JobCancelled:
            self.cancelled = True
        # All of them: else the page would wait for it until the server stops.
        except BaseException as error:
            if not self._unwanted:
                log.exception("Something about a picture could not be found out.")
            # Where it came from holds the picture's file.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            self._problem = error
        finally:
            self._done.set()

    def _report(self, _phase: str, done: int, total: int, message: str, _rate: float | None) -> None:
        if self._unwanted:
            raise JobCancelled
        self.words, self.share = message, done / max(total, 1)


class _NewestFirst:
    """Works things off one at a time, what was asked for last first, as long as somebody wants them.

    One at a time: the network uses all cores for each. A thread of a pool would work off all that waits before the
    server ends.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[InBackground[object]] = []
        self._at_work: InBackground[object] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def next(self, item: InBackground[object]) -> None:
        """Work this off before all that waits, also where it waits itself."""
        with self._changed:
            if item in self._waiting:
                self._waiting.remove(item)
            elif item is self._at_work:
                return
            if self._closed:
                item.cancel()
                item.work_off()
                return
            self._waiting.append(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="evidence", daemon=True)
                self._thread.start()
            self._changed.notify()

    def give_up(self, item: InBackground[object]) -> None:
        """Nobody wants this any more."""
        item.cancel()
        with self._changed:
            if item not in self._waiting:
                return
            self._waiting.remove(item)
        item.work_off()

    def close(self) -> None:
        """Begin nothing more, and wait a moment for what is being found out.

        A thread that comes back from the network to an interpreter that has ended takes the process down with a crash.
        """
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            if self._at_work is not None:
                self._at_work.cancel()
            self._changed.notify()
        for item in waiting:
            item.cancel()
            item.work_off()
        if self._thread not in (None, threading.current_thread()):
            self._thread.join(_LAST_WAIT)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                item = self._at_work = self._waiting.pop()
            item.work_off()
            with self._changed:
                self._at_work = None
            # Else what it found, and its picture, would stay until the next one comes.
            del item


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
        self._queue = _NewestFirst()
        # At the end of the interpreter, too.
        weakref.finalize(self, self._queue.close)

    def find(self, key: tuple[str, ...]) -> Case | None:
        """The case of a picture under a model, or None."""
        with self._lock:
            if key in self._cases:
                self._cases.move_to_end(key)
            return self._cases.get(key)

    def put(self, key: tuple[str, ...], case: Case, instead_of: Case | None = None) -> Case:
        """Remember a case; the one that nobody has asked for longest is forgotten, and what waits for it is given up.

        Parameters
        ----------
        instead_of : Case, optional
            The one that does not hold any more.

        Returns
        -------
        Case
            The one to go on with: another session may have been quicker with the same picture.
        """
        gone: list[Case] = []
        with self._lock:
            known = self._cases.get(key)
            if known is not None and known is not instead_of:
                self._cases.move_to_end(key)
                return known
            if known is not None:
                gone.append(known)
            self._cases[key] = case
            self._cases.move_to_end(key)
            while len(self._cases) > self._most:
                gone.append(self._cases.popitem(last=False)[1])
            unwanted = [found for lost in gone for found in lost.finding.values()]
        for found in unwanted:
            self._queue.give_up(found)
        return case

    @property
    def busy(self) -> bool:
        """Whether something is being found out."""
        with self._lock:
            return any(found.running for case in self._cases.values() for found in case.finding.values())

    def find_out(
        self, case: Case, what: str, work: Callable[[Report], object], *, again: bool = False
    ) -> InBackground[object]:
        """Have something found out of a case, once, and before all that others have asked for.

        Parameters
        ----------
        again : bool
            Whether it is tried once more where it failed.
        """
        with self._lock:
            found = case.finding.get(what)
            if found is None or found.cancelled or (again and found.problem is not None):
                found = case.finding[what] = InBackground(work)
            if found.running:
                self._queue.next(found)
            return found
