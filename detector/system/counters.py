"""What this process has counted since its start, for the page of metrics: small, whatever comes from outside."""

from __future__ import annotations

import threading
from collections import Counter

_lock = threading.Lock()
_counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()


def count_one(what: str, **labels: str) -> None:
    """Count one more.

    Parameters
    ----------
    what : str
        The name of the counter.
    **labels : str
        Of a few values each, all chosen by the code: a name that comes from outside would fill the memory.
    """
    with _lock:
        _counts[what, tuple(sorted(labels.items()))] += 1


def counted(what: str) -> list[tuple[dict[str, str], int]]:
    """What was counted under a name, by its labels."""
    with _lock:
        return [(dict(labels), number) for (name, labels), number in sorted(_counts.items()) if name == what]
