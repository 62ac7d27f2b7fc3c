"""Prepared samples of the latest trainings, kept for the next one.

They depend on the features of the training samples only. After a few labels were changed they are the same to the last
digit, and making them is about half the work of a sweep of some thousand samples.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from detector.training.precomputed import PreparedSamples
from detector.training.scaling import Embeddings, row_chunks

#: Larger sets are not remembered: their Gram matrices are large, and most of their training is something else.
MOST_SAMPLES = 4000
#: Of all that is remembered together; two Gram matrices (one for each scaling) of 4,000 samples fit.
MOST_BYTES = 140_000_000

Choice = tuple[str, tuple[tuple[int, int], ...], str]


class GramCache:
    """Prepared samples by the content of the embeddings and what was chosen of them. Safe to use from many threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._prepared: OrderedDict[tuple[str, Choice], PreparedSamples] = OrderedDict()

    def get(self, digest: str | None, choice: Choice, make: Callable[[], PreparedSamples]) -> PreparedSamples:
        """Those of these embeddings (see :func:`content_digest`) and this choice; ``make`` is asked if need be."""
        if digest is None:
            return make()
        key = (digest, choice)
        with self._lock:
            known = self._prepared.get(key)
            if known is not None:
                self._prepared.move_to_end(key)
                return known
        prepared = make()
        with self._lock:
            self._prepared[key] = prepared
            while sum(each.nbytes for each in self._prepared.values()) > self._most_bytes:
                self._prepared.popitem(last=False)
        return prepared

    def forget(self) -> None:
        """Let all go: the next training makes its own, as the first one of a process does."""
        with self._lock:
            self._prepared.clear()


def content_digest(embeddings: Embeddings) -> str | None:
    """A name for exactly these numbers; None for sets that are too large to be remembered."""
    if any(len(rows) > MOST_SAMPLES for rows in embeddings.values()):
        return None
    return rows_digest(embeddings)


def rows_digest(embeddings: Embeddings) -> str:
    """A name for exactly these numbers."""
    digest = hashlib.blake2b(digest_size=32)
    for view, rows in sorted(embeddings.items()):
        digest.update(f"{view} {rows.shape};".encode())
        for part in row_chunks(len(rows)):
            numbers = np.ascontiguousarray(rows[part])
            digest.update(numbers.dtype.str.encode())
            digest.update(numbers.data)
    return digest.hexdigest()


GRAM_CACHE = GramCache()
