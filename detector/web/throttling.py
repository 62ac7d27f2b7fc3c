"""Guessing made slow: who may try a password now, and how long the others have to wait."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

#: Wrong attempts that cost a client nothing: people mistype.
FREE_FAILURES = 3
#: The wait after the next one; it doubles with each further failure up to the longest.
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
#: A client without failures for so long starts anew.
FORGET_SECONDS = 3600.0
#: Over all clients: with more failures than this in the window, one attempt is let through at a time, this far apart.
GLOBAL_FAILURES = 20
GLOBAL_WINDOW_SECONDS = 600.0
GLOBAL_WAIT_SECONDS = 2.0
#: Clients remembered; beyond it the one heard of longest ago is forgotten, and the global limit still holds.
REMEMBERED_CLIENTS = 10_000
#: Names that a client's failures are told apart by; those of further ones are forgiven to nobody.
REMEMBERED_NAMES = 100


@dataclass
class _Client:
    failures: int = 0
    free_at: float = 0.0
    last: float = 0.0
    known: bool = False
    of: dict[str, int] = field(default_factory=dict)


class LoginThrottle:
    """Failed attempts by client and over all clients; safe to use from several threads.

    A client that succeeded before is not held up by the failures of others: a stranger who guesses from many
    addresses must not lock the owner out.

    Parameters
    ----------
    clock : callable, optional
        Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._failures: deque[float] = deque(maxlen=GLOBAL_FAILURES + 1)
        self._all_free_at = 0.0

    def wait(self, client: str) -> float:
        """The seconds that `begin` would say now; nothing is counted."""
        with self._lock:
            now = self._clock()
            return max(self._wait(self._entry(client, now), now), 0.0)

    def begin(self, client: str, of: str = "") -> float:
        """Ask for one attempt.

        Parameters
        ----------
        of : str, optional
            Under which name: `succeeded` can forgive the failures of one name alone.

        Returns
        -------
        float
            0 when it may be made now, and then it counts as failed until `succeeded` says otherwise: attempts made
            at the same time cannot slip past each other. Otherwise the seconds to wait; nothing may be checked then.
        """
        with self._lock:
            now = self._clock()
            entry = self._entry(client, now)
            wait = self._wait(entry, now)
            if wait > 0:
                return wait
            self._failures.append(now)
            self._all_free_at = now + GLOBAL_WAIT_SECONDS
            entry.failures += 1
            entry.last = now
            if of in entry.of or len(entry.of) < REMEMBERED_NAMES:
                entry.of[of] = entry.of.get(of, 0) + 1
            entry.free_at = _free_at(entry.failures, now)
            return 0.0

    def succeeded(self, client: str, of: str | None = None) -> None:
        """The attempt that `begin` allowed was right: the client's slate is clean.

        Parameters
        ----------
        of : str, optional
            Only the failures under that name are forgiven: whoever comes in by their own name must not win further
            guesses at those of others.
        """
        with self._lock:
            now = self._clock()
            entry = self._entry(client, now)
            if of is None:
                entry.failures, entry.of = 0, {}
            else:
                entry.failures = max(entry.failures - entry.of.pop(of, 0), 0)
            entry.free_at, entry.known = _free_at(entry.failures, now), True
            if self._failures:
                self._failures.pop()

    def _wait(self, entry: _Client, now: float) -> float:
        under_siege = (
            len(self._failures) > GLOBAL_FAILURES and now - self._failures[0] < GLOBAL_WINDOW_SECONDS
        ) and not entry.known
        return max(entry.free_at - now, self._all_free_at - now if under_siege else 0.0)

    def _entry(self, client: str, now: float) -> _Client:
        client = one_person(client)
        entry = self._clients.setdefault(client, _Client())
        self._clients.move_to_end(client)
        while len(self._clients) > REMEMBERED_CLIENTS:
            self._clients.popitem(last=False)
        if entry.failures and now - entry.last > FORGET_SECONDS:
            entry.failures, entry.free_at, entry.of = 0, 0.0, {}
        return entry


def _free_at(failures: int, now: float) -> float:
    over = failures - FREE_FAILURES
    return now + min(FIRST_WAIT_SECONDS * 2.0 ** min(over - 1, 30), LONGEST_WAIT_SECONDS) if over > 0 else 0.0


def one_person(client: str) -> str:
    """What stands for everybody who shares an address: the address itself, and of IPv6 the network."""
    # Whoever has one address of IPv6 has 2**64.
    try:
        address = ipaddress.IPv6Address(client)
    except ValueError:
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))
