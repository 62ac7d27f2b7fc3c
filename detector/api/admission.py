"""How much memory the bodies of requests may take together: each asks for its share before it is read."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from detector.errors import BodiesBusy

#: Bodies up to this size take no share: the server reads so much ahead on every connection, admitted or not.
FREE_BYTES = 65_536


class BodyMemory:
    """The memory for bodies, as a number of bytes that is shared out. Safe to use from many threads.

    Parameters
    ----------
    budget : int
        Bytes that may be out at the same time. One body that is larger than all of it is taken when it is alone: what
        is larger than a request may be is not for this class to say.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._out = 0
        self._most = 0
        self._lock = threading.Lock()

    @property
    def out(self) -> int:
        """Bytes that are held now."""
        return self._out

    def was_large(self, size: int) -> bool:
        """Whether nothing is held now, and at least ``size`` bytes were at once since this was last true."""
        with self._lock:
            if self._out or self._most < size:
                return False
            self._most = 0
            return True

    def share(self) -> Share:
        """A share for one request, of nothing yet."""
        return Share(self)

    def _move(self, held: int, wanted: int) -> None:
        with self._lock:
            others = self._out - held
            if wanted > held and others and others + wanted > self._budget:
                raise BodiesBusy(self._budget)
            self._out = others + wanted
            self._most = max(self._most, self._out)


class Share:
    """What one request holds."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._until: Future[Any] | None = None
        #: Bytes that it holds.
        self.held = 0

    def hold(self, size: int) -> None:
        """Hold so many bytes, more or fewer than before; up to `FREE_BYTES` counts as none.

        Raises
        ------
        BodiesBusy
            Others hold too much; what was held is still held.
        """
        wanted = size if size > FREE_BYTES else 0
        if wanted != self.held:
            self._memory._move(self.held, wanted)
            self.held = wanted

    def keep_until(self, done: Future[Any]) -> None:
        """Let `release` wait for work that goes on with the bytes although nobody waits for its answer."""
        self._until = done

    def release(self) -> None:
        """Give all back."""
        if self._until is not None and not self._until.done():
            self._until.add_done_callback(lambda _: self.hold(0))
        else:
            self.hold(0)
